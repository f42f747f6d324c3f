#pragma once
// Numbers that mean nothing, for weights and inputs of benchmarks.

#include <cstdint>

#include "kernels/context.h"

namespace fovea {

/// Fills a contiguous float block where the context computes: uniform in [-range, range), element i
/// a hash of seed and i, so that threads and devices change nothing but the rounding to its type.
Status fill_uniform(Context& context, TensorView block, float range, std::uint64_t seed);

}  // namespace fovea
