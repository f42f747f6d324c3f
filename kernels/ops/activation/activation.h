#pragma once
// Element-wise pieces of transformer blocks. On a GPU blocks may be of any float type (softmax:
// f32).

#include "kernels/context.h"
#include "kernels/ops/linear/linear.h"

namespace fovea {

/// out = silu(gate) * up. gate, up, out: [rows, width] f32, strides allowed; out may be gate.
Status silu_mul(Context& context, ConstTensorView gate, ConstTensorView up, TensorView out);

/// Applies an activation in place to [rows, width] f32.
Status activate(Context& context, TensorView x, Activation activation);

/// y += x, both [rows, width] f32; x of one row is added to every row.
Status add(Context& context, ConstTensorView x, TensorView y);

/// In place, numerically safe softmax of each row of [rows, width] f32. A row of nothing but
/// -infinity becomes zeros; a NaN spoils its whole row.
Status softmax_rows(Context& context, TensorView x);

}  // namespace fovea
