#pragma once
// The device part of random.h.

#include <cstdint>

#include "kernels/context.h"

namespace fovea {

Status fill_uniform_cuda(Context& context, TensorView block, float range, std::uint64_t seed);

}  // namespace fovea
