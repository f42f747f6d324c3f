#pragma once
// Sums over a block.

#include "kernels/cuda/vector.cuh"

namespace fovea {

/// The same for every thread, added in the order of the block's kWarps warps; `parts` has room for
/// them.
template <int kWarps>
__device__ __forceinline__ double sum_of_block(double value, double* parts) {
  value = sum_of_warp(value);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  double sum = 0.0;
  for (int w = 0; w < kWarps; ++w) sum += parts[w];
  __syncthreads();
  return sum;
}

}  // namespace fovea
