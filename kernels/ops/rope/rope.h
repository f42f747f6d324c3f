#pragma once
// Rotary position embedding (arXiv 2104.09864) in the half-split form that Llama uses.

#include <span>

#include "kernels/context.h"

namespace fovea {

/// Rotates x [rows, heads, head_dim] f32 in place (row stride allowed). Channel c of the first half
/// pairs with channel c + head_dim/2; angle = position * theta^(-2c/head_dim), computed in double
/// so that long contexts stay exact. positions: one per row, >= 0. head_dim is even.
/// On a GPU x may be of any float type.
Status rope(Context& context, TensorView x, std::span<const std::int32_t> positions, float theta);

/// The same with positions i32 [rows] on the context's device, where they are not checked: a decode
/// step that is replayed reads new ones each time.
Status rope(Context& context, TensorView x, ConstTensorView positions, float theta);

}  // namespace fovea
