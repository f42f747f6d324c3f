#pragma once
// The device part of hand_over.h; arguments were checked.

#include "kernels/ops/step/hand_over.h"

namespace fovea {

Status hand_over_cuda(Context& context, const HandOver& step);

}  // namespace fovea
