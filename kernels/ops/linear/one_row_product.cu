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

constexpr int kWarps = 8;
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

/// A warp makes kRows outputs at once, which share the reads of x, with kLoads loads of 16 bytes in
/// flight for each.
template <int kRows, int kLoads, class W, class Y>
__global__ __launch_bounds__(kWarps * 32) void one_row_kernel(const uint4* weight, const uint4* x,
                                                              const float* bias, Y* y, int chunks,
                                                              int outputs, bool accumulate) {
  extern __shared__ uint4 row[];
  const int lane = threadIdx.x % 32;
  const int first = (blockIdx.x * kWarps + threadIdx.x / 32) * kRows;
  const uint4* from[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    from[r] = weight + static_cast<std::int64_t>(min(first + r, outputs - 1)) * chunks;
  }
  // The first weights are on their way before the row that they multiply is there.
  uint4 loaded[kRows][kLoads];
  const auto load_part = [&](int start) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int l = 0; l < kLoads; ++l) loaded[r][l] = load_once(from[r] + start + l * 32);
    }
  };
  int i = lane;
  const auto whole = [&] { return i + (kLoads - 1) * 32 < chunks; };
  if (whole()) load_part(i);
  let_next_prepare();
  wait_for_previous();
  for (int c = threadIdx.x; c < chunks; c += kWarps * 32) row[c] = x[c];
  __syncthreads();
  if (first >= outputs) return;
  float sums[kRows] = {};
  while (whole()) {
#pragma unroll
    for (int l = 0; l < kLoads; ++l) {
      const uint4 part = row[i + l * 32];
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums[r] = dot<W>(loaded[r][l], part, sums[r]);
    }
    i += kLoads * 32;
    if (whole()) load_part(i);
  }
  // What is left is on its way together too: fewer than kLoads pieces a lane.
  constexpr int kFew = 4;
  for (; i < chunks; i += kFew * 32) {
#pragma unroll
    for (int l = 0; l < kFew; ++l) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (i + l * 32 < chunks) loaded[r][l] = load_once(from[r] + i + l * 32);
      }
    }
#pragma unroll
    for (int l = 0; l < kFew; ++l) {
      if (i + l * 32 >= chunks) break;
      const uint4 part = row[i + l * 32];
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums[r] = dot<W>(loaded[r][l], part, sums[r]);
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) sums[r] = sum_of_warp(sums[r]);
  if (lane < kRows && first + lane < outputs) {
    const int output = first + lane;
    float sum = lane == 0 ? sums[0] : sums[kRows - 1];
    if (bias != nullptr) sum += bias[output];
    if (accumulate) sum += load_float(y[output]);
    y[output] = store_float<Y>(sum);
  }
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
  // Two outputs a warp halve the reads of x, but few outputs then leave half of the card idle.
  const bool few = outputs < 8192;
  const int per_block = few ? kWarps : 2 * kWarps;
  const int blocks = (outputs + per_block - 1) / per_block;
  FOVEA_CHECK(with_float_type(weight.dtype, [&](auto weight_type) {
    return with_float_type(y.dtype, [&](auto y_type) -> Status {
      using W = typename decltype(weight_type)::type;
      using Y = typename decltype(y_type)::type;
      return launch_early(
          context, "one_row_product", few ? one_row_kernel<1, 8, W, Y> : one_row_kernel<2, 4, W, Y>,
          blocks, kWarps * 32, static_cast<std::size_t>(row_bytes), weight.as<uint4>(),
          x.as<uint4>(), bias, reinterpret_cast<Y*>(y.data), chunks, outputs, accumulate);
    });
  }));
  return true;
}

}  // namespace fovea
