#pragma once
// The hash behind random.h.

#include <cstdint>

#include "kernels/cuda/both.h"

namespace fovea {

/// Uniform in [-1, 1).
FOVEA_ON_BOTH inline float uniform_number(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t bits = seed * 0xD1342543DE82EF95u + (index + 1) * 0x9E3779B97F4A7C15u;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  bits ^= bits >> 31;
  return static_cast<float>(bits >> 40) * 0x1p-23f - 1.0f;
}

}  // namespace fovea
