#pragma once
// The device part of activation.h: blocks of any float type, computed in float32.

#include "kernels/ops/activation/activation.h"

namespace fovea {

Status silu_mul_cuda(Context& context, ConstTensorView gate, ConstTensorView up, TensorView out);
Status activate_cuda(Context& context, TensorView x, Activation activation);
Status add_cuda(Context& context, ConstTensorView x, TensorView y);
Status softmax_rows_cuda(Context& context, TensorView x);

}  // namespace fovea
