#pragma once
// Eight elements at a time, elements whose type is known at run time only, and sums over a warp.

#include <cstdint>

#include "kernels/cuda/element.cuh"

namespace fovea {

/// Every lane gets the sum, added in the same order.
template <class Number>
__device__ __forceinline__ Number sum_of_warp(Number value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
  return value;
}

/// Eight consecutive elements, 16-byte aligned, as float32.
__device__ __forceinline__ void load8(const float* from, float (&to)[8]) {
  const float4 low = *reinterpret_cast<const float4*>(from);
  const float4 high = *reinterpret_cast<const float4*>(from + 4);
  to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
  to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}
__device__ __forceinline__ void load8(const __nv_bfloat16* from, float (&to)[8]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(from);
  const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = __uint_as_float(words[i] << 16);
    to[2 * i + 1] = __uint_as_float(words[i] & 0xFFFF0000u);
  }
}
__device__ __forceinline__ void load8(const __half* from, float (&to)[8]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(from);
  const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
    to[2 * i] = pair.x;
    to[2 * i + 1] = pair.y;
  }
}

/// Element `index` of a block of f32, f16 or bf16.
__device__ __forceinline__ float load_any(const void* block, DType dtype, std::int64_t index) {
  if (dtype == DType::f32) return static_cast<const float*>(block)[index];
  if (dtype == DType::bf16) return load_float(static_cast<const __nv_bfloat16*>(block)[index]);
  return load_float(static_cast<const __half*>(block)[index]);
}
__device__ __forceinline__ void store_any(void* block, DType dtype, std::int64_t index, float value) {
  if (dtype == DType::f32) {
    static_cast<float*>(block)[index] = value;
  } else if (dtype == DType::bf16) {
    static_cast<__nv_bfloat16*>(block)[index] = store_float<__nv_bfloat16>(value);
  } else {
    static_cast<__half*>(block)[index] = store_float<__half>(value);
  }
}

}  // namespace fovea
