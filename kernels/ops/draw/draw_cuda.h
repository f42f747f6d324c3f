#pragma once
// The device part of draw.h; arguments were checked.

#include "kernels/context.h"

namespace fovea {

Status draw_indices_cuda(Context& context, ConstTensorView logits, ConstTensorView draws,
                         TensorView indices);

}  // namespace fovea
