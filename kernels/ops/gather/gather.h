#pragma once
// Row selection: embedding lookup, and closing the gaps after pruning.

#include <span>

#include "kernels/context.h"

namespace fovea {

/// to[i] = from[rows[i]], converted to the type of `to`. from: [n, width] f32, f16 or bf16; to:
/// [rows, width] f32, on a GPU f32, f16 or bf16. from and to must not overlap. Errors: usage when an
/// index is outside [0, n).
Status gather_rows(Context& context, ConstTensorView from, std::span<const std::int32_t> rows,
                   TensorView to);

/// The same with the indices, i32 [rows], where the context works. On a GPU nobody looks at them on
/// the host: they must be right.
Status gather_rows(Context& context, ConstTensorView from, ConstTensorView rows, TensorView to);

/// to[i] = sum over s in [offsets[i], offsets[i+1]) of weights[s] * from[sources[s]]: the merging
/// form, for methods that recycle pruned tokens. offsets has one entry more than `to` has rows. from
/// and to: f32, on a GPU f32, f16 or bf16; sums are float32.
Status merge_rows(Context& context, ConstTensorView from, std::span<const std::int32_t> offsets,
                  std::span<const std::int32_t> sources, std::span<const float> weights,
                  TensorView to);

/// The same with the lists (i32, i32, f32) where the context works. On a GPU nobody looks at them
/// on the host: they must be right.
Status merge_rows(Context& context, ConstTensorView from, ConstTensorView offsets,
                  ConstTensorView sources, ConstTensorView weights, TensorView to);

}  // namespace fovea
