#pragma once
// The device part of rope.h. x: any float type; positions: i32 [rows], on the device.

#include "kernels/context.h"

namespace fovea {

Status rope_cuda(Context& context, TensorView x, ConstTensorView positions, float theta);

}  // namespace fovea
