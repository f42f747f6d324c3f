#pragma once
// Sums over a block, and how many blocks it takes.

#include <cstdint>

#include "kernels/cuda/vector.cuh"

namespace fovea {

/// So many that each has at most `each` of the items.
inline unsigned blocks_for(std::int64_t items, int each) {
  return static_cast<unsigned>((items + each - 1) / each);
}

/// The same for every thread, added in the order of the block's kWarps warps; `parts` has room for
/// them.
template <int kWarps, class Number>
__device__ __forceinline__ Number sum_of_block(Number value, Number* parts) {
  value = sum_of_warp(value);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  Number sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += parts[w];
  __syncthreads();
  return sum;
}

}  // namespace fovea
