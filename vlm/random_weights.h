#pragma once
// Random weights for benchmarks without a checkpoint, scaled so that activations stay finite and
// attention is not flat.

#include "kernels/context.h"

namespace fovea {

/// Uniform in [-scale, scale] in bf16 (half the memory while packing); reproducible.
Result<Tensor> random_matrix(Context& context, std::int64_t outputs, std::int64_t inputs,
                             std::uint64_t seed);
/// Ones, as norm weights.
Result<Tensor> ones(std::int64_t width);

}  // namespace fovea
