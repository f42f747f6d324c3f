#pragma once
// Hopper's copies of whole tiles of a matrix into shared memory, ordered by one thread. PTX of sm_90.

#include <cuda.h>

#include <cstdint>

namespace fovea {

/// Copies the tile that begins at `row` and `column` to `to`, a multiple of 1024, and counts its bytes,
/// the whole tile's even at the matrix's edge, for `barrier`. `policy`: one of those below.
__device__ __forceinline__ void copy_tile(const CUtensorMap& map, int row, int column, std::uint32_t to,
                                          std::uint32_t barrier, std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
      "[%1, {%3, %4}], [%2], %5;" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(column), "r"(row), "l"(policy)
      : "memory");
}

/// What is read once leaves the L2 cache first; what other blocks read as well, last.
__device__ __forceinline__ std::uint64_t read_once() {
  std::uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ __forceinline__ std::uint64_t read_again() {
  std::uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

}  // namespace fovea
