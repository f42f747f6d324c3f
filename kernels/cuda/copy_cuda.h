#pragma once
// The device part of kernels/copy.h. Shapes and places were checked; at least one element.

#include "kernels/context.h"

namespace fovea {

Status copy_cuda(Context& context, ConstTensorView from, TensorView to);
Status convert_cuda(Context& context, ConstTensorView from, TensorView to);
Status synchronize_cuda(Context& context);

}  // namespace fovea
