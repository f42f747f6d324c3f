#pragma once
// The device part of rows.h; arguments were checked.

#include <cstdint>
#include <span>

#include "kernels/context.h"

namespace fovea {

Status gather_columns_cuda(Context& context, ConstTensorView from,
                           std::span<const std::int32_t> columns, TensorView to);
Status scatter_rows_cuda(Context& context, ConstTensorView from, std::span<const std::int32_t> rows,
                         TensorView to);
/// -1 where a number is NaN or plus infinity, or all are minus infinity.
Result<std::int32_t> largest_index_cuda(Context& context, ConstTensorView values);
/// The same of each row left on the device, for graphs: i32 [rows].
Status largest_index_to(Context& context, ConstTensorView values, TensorView index);
Status next_tokens_cuda(Context& context, ConstTensorView choices, TensorView tokens);

}  // namespace fovea
