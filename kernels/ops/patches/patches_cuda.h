#pragma once
// The device part of patches.h; shapes were checked.

#include "kernels/context.h"

namespace fovea {

Status cut_patches_cuda(Context& context, ConstTensorView pixels, std::int64_t patch,
                        TensorView patches);

}  // namespace fovea
