// Products of one row read each weight once and do little else: the kernel keeps many 16-byte loads
// in flight, and the row itself in shared memory.

#include <cstdint>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/ops/linear/linear_cuda.h"

namespace fovea {
namespace {

constexpr int kWarps = 8, kLoads = 8;
constexpr std::int64_t kMostRowBytes = 48 * 1024;

/// Weights are read once in a step: they need not displace what is read again.
__device__ __forceinline__ uint4 load_once(const uint4* address) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(address));
  return value;
}

template <class T>
__device__ __forceinline__ float dot(const uint4& a, const uint4& b, float sum) {
  constexpr int kCount = 16 / sizeof(T);
  T left[kCount], right[kCount];
  memcpy(left, &a, sizeof(a));
  memcpy(right, &b, sizeof(b));
#pragma unroll
  for (int i = 0; i < kCount; ++i) sum = fmaf(load_float(left[i]), load_float(right[i]), sum);
  return sum;
}

/// A warp makes one output, with kLoads loads of 16 bytes in flight. Four blocks a multiprocessor
/// leave enough of the next kernel's ready when a block ends.
template <class W, class Y>
__global__ __launch_bounds__(kWarps * 32, 4) void one_row_kernel(const uint4* weight,
                                                                 const uint4* x, const float* bias,
                                                                 Y* y, int chunks, int outputs,
                                                                 bool accumulate) {
  extern __shared__ uint4 row[];
  const int lane = threadIdx.x % 32;
  const int output = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  const uint4* const from = weight + static_cast<std::int64_t>(min(output, outputs - 1)) * chunks;
  // The first weights are on their way before the row that they multiply is there.
  uint4 loaded[kLoads];
  const auto load_part = [&](int start) {
#pragma unroll
    for (int l = 0; l < kLoads; ++l) loaded[l] = load_once(from + start + l * 32);
  };
  int i = lane;
  const auto whole = [&] { return i + (kLoads - 1) * 32 < chunks; };
  if (whole()) load_part(i);
  let_next_prepare();
  wait_for_previous();
  for (int c = threadIdx.x; c < chunks; c += kWarps * 32) row[c] = x[c];
  __syncthreads();
  if (output >= outputs) return;
  float sum = 0.0f;
  while (whole()) {
#pragma unroll
    for (int l = 0; l < kLoads; ++l) sum = dot<W>(loaded[l], row[i + l * 32], sum);
    i += kLoads * 32;
    if (whole()) load_part(i);
  }
  // What is left, fewer than kLoads pieces a lane, is on its way together too.
  constexpr int kFew = 4;
  for (; i < chunks; i += kFew * 32) {
#pragma unroll
    for (int l = 0; l < kFew; ++l) {
      if (i + l * 32 < chunks) loaded[l] = load_once(from + i + l * 32);
    }
#pragma unroll
    for (int l = 0; l < kFew; ++l) {
      if (i + l * 32 < chunks) sum = dot<W>(loaded[l], row[i + l * 32], sum);
    }
  }
  sum = sum_of_warp(sum);
  if (lane > 0) return;
  if (bias != nullptr) sum += bias[output];
  if (accumulate) sum += load_float(y[output]);
  y[output] = store_float<Y>(sum);
}

}  // namespace

Result<bool> one_row_product(Context& context, ConstTensorView weight, ConstTensorView x,
                             const float* bias, TensorView y, bool accumulate) {
  const std::int64_t row_bytes =
      weight.shape[1] * static_cast<std::int64_t>(dtype_size(weight.dtype));
  const bool aligned = row_bytes % 16 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0;
  if (!aligned || row_bytes > kMostRowBytes || weight.shape[0] > (1 << 30)) return false;
  const auto outputs = static_cast<int>(weight.shape[0]);
  const auto chunks = static_cast<int>(row_bytes / 16);
  const int blocks = (outputs + kWarps - 1) / kWarps;
  FOVEA_CHECK(with_float_type(weight.dtype, [&](auto weight_type) {
    return with_float_type(y.dtype, [&](auto y_type) -> Status {
      using W = typename decltype(weight_type)::type;
      using Y = typename decltype(y_type)::type;
      return launch_early(context, "one_row_product", one_row_kernel<W, Y>, blocks, kWarps * 32,
                          static_cast<std::size_t>(row_bytes), weight.as<uint4>(), x.as<uint4>(),
                          bias, reinterpret_cast<Y*>(y.data), chunks, outputs, accumulate);
    });
  }));
  return true;
}

}  // namespace fovea
