#pragma once
// Numbers as integers that compare as they do, and with it the place of the largest.

#include <cstdint>

namespace fovea {

/// Rises with the number, from above 0; both zeros alike. Not for NaN.
__device__ __forceinline__ std::uint32_t rank_of(float number) {
  const std::uint32_t bits = __float_as_uint(number + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/// For the first thread of a block of kThreads: where the largest of `count` numbers (at least one)
/// is, the first among equals. NaN and plus infinity count as larger than every number.
template <int kThreads>
__device__ __forceinline__ int place_of_largest(const float* numbers, int count) {
  constexpr std::uint32_t kAll = 0xFFFFFFFFu;
  __shared__ unsigned long long of_warps[kThreads / 32];
  unsigned long long best = 0;  // the rank, then the lower place
  constexpr int kAtOnce = 8;    // loads of a thread in flight
  for (int first = threadIdx.x; first < count; first += kAtOnce * kThreads) {
    float loaded[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) loaded[k] = numbers[min(first + k * kThreads, count - 1)];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const std::uint32_t rank = isnan(loaded[k]) ? kAll : rank_of(loaded[k]);
      const auto place = static_cast<std::uint32_t>(min(first + k * kThreads, count - 1));
      best = max(best, static_cast<unsigned long long>(rank) << 32 | (kAll - place));
    }
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) best = max(best, __shfl_xor_sync(kAll, best, step));
  if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x != 0) return 0;
  for (int w = 1; w < kThreads / 32; ++w) best = max(best, of_warps[w]);
  return static_cast<int>(kAll - static_cast<std::uint32_t>(best));
}

}  // namespace fovea
