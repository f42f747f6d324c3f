#pragma once
// Moving parts of blocks: columns out, rows back in, and the place of the largest number.

#include <cstdint>
#include <span>

#include "kernels/context.h"

namespace fovea {

/// to[h, i] = from[h, columns[i]]. from: f32 [n, width]; to: f32 [n, columns]. Errors: usage.
Status gather_columns(Context& context, ConstTensorView from, std::span<const std::int32_t> columns,
                      TensorView to);

/// to[rows[i]] = from[i], all f32 and [., width]; `rows` repeat none. Errors: usage.
Status scatter_rows(Context& context, ConstTensorView from, std::span<const std::int32_t> rows,
                    TensorView to);

/// The index of the largest of f32 [n] or [1, n], the first among equals, for the host. Errors:
/// internal where a number is NaN or plus infinity, or all are minus infinity; as a sampler would
/// refuse them.
Result<std::int32_t> largest_index(Context& context, ConstTensorView values);

/// The same left where the context computes, so that it can be recorded: index, i32 [1], becomes -1
/// where the other form has an error, which is no_largest_index(). values [n, m] and index [n]: of
/// each row. Errors: usage.
Status largest_index(Context& context, ConstTensorView values, TensorView index);
/// tokens[i] = max(choices[i], 0): i32 [n], where the context computes. What largest_index() left as
/// rows to gather, without looking whether each was found.
Status next_tokens(Context& context, ConstTensorView choices, TensorView tokens);
Error no_largest_index();

}  // namespace fovea
