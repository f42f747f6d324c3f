#pragma once
// The device part of norm.h. x: f32 on the device; y: any float type.

#include "kernels/context.h"

namespace fovea {

/// bias empty: the root-mean-square norm; else the layer norm.
Status norm_cuda(Context& context, ConstTensorView x, ConstTensorView weight, ConstTensorView bias,
                 float epsilon, TensorView y);

}  // namespace fovea
