#pragma once
// The device part of kernels/copy.h. Shapes and places were checked; at least one element.

#include "kernels/context.h"

namespace fovea {

Status copy_cuda(Context& context, ConstTensorView from, TensorView to);
Status convert_cuda(Context& context, ConstTensorView from, TensorView to);
Status synchronize_cuda(Context& context);

/// Whether this build has machine code, or code that the driver can compile, for a GPU.
bool has_code_for_device(int index);

}  // namespace fovea
