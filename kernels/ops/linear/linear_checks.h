#pragma once

#include "kernels/context.h"

namespace fovea {

/// What Linear::create() asks of a weight and its bias (which may be empty).
Status check_linear_weight(const Context& context, ConstTensorView weight, ConstTensorView bias);

}  // namespace fovea
