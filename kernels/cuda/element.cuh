#pragma once
// Float types on the device: loading as float32, storing with rounding to nearest even, and a
// switch from a DType to a type.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <utility>

#include "kernels/tensor.h"

namespace fovea {

__device__ __forceinline__ float load_float(float value) {
  return value;
}
__device__ __forceinline__ float load_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__device__ __forceinline__ float load_float(__half value) {
  return __half2float(value);
}

template <class T>
__device__ __forceinline__ T store_float(float value);
template <>
__device__ __forceinline__ float store_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __nv_bfloat16 store_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ __half store_float<__half>(float value) {
  return __float2half_rn(value);
}

/// `kCount` neighbours as one access.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T values[kCount];
};

template <class T>
struct Type {
  using type = T;
};

/// Calls action(Type<float>{}), action(Type<__half>{}) or action(Type<__nv_bfloat16>{}).
template <class Action>
Status with_float_type(DType dtype, Action&& action) {
  switch (dtype) {
    case DType::f32:
      return std::forward<Action>(action)(Type<float>{});
    case DType::f16:
      return std::forward<Action>(action)(Type<__half>{});
    case DType::bf16:
      return std::forward<Action>(action)(Type<__nv_bfloat16>{});
    default:
      return make_error(ErrorCode::usage,
                        std::string("expected f32, f16 or bf16, found ") + dtype_name(dtype));
  }
}

}  // namespace fovea
