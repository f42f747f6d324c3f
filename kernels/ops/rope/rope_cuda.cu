#include "kernels/ops/rope/rope_cuda.h"

#include <cmath>
#include <cstdint>
#include <string>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/common/checks.h"
#include "kernels/ops/rope/rope.cuh"

namespace fovea {
namespace {

constexpr int kThreads = 256;

/// Blocks (row, share of the heads). Pairs of packs of kCount channels.
template <class T, int kCount>
__global__ __launch_bounds__(kThreads) void rope_kernel(T* x, std::int64_t stride,
                                                        const std::int32_t* positions, int heads,
                                                        int half, double log2_ratio) {
  __shared__ Rotation rotation;
  let_next_prepare();
  wait_for_previous();
  fill_rotation(rotation, positions[blockIdx.x], half, log2_ratio);
  const int threads = static_cast<int>(blockDim.x);
  T* row = x + blockIdx.x * stride;
  const int packs = half / kCount, step = threads * static_cast<int>(gridDim.y);
  for (int i = static_cast<int>(blockIdx.y) * threads + static_cast<int>(threadIdx.x);
       i < heads * packs; i += step) {
    const int head = i / packs, channel = (i - head * packs) * kCount;
    auto* low = reinterpret_cast<Pack<T, kCount>*>(row + head * 2 * half + channel);
    auto* high = reinterpret_cast<Pack<T, kCount>*>(row + head * 2 * half + half + channel);
    Pack<T, kCount> first = *low, second = *high;
    turn(rotation, channel, first, second);
    *low = first;
    *high = second;
  }
}

}  // namespace

Status rope_cuda(Context& context, TensorView x, ConstTensorView positions, float theta) {
  FOVEA_CHECK(check_activation_shape(context, "rope x", x, x.shape));
  if (x.shape.rank() != 3 || x.shape[2] % 2 != 0 || x.shape[2] > 2 * kMostHalf) {
    return make_error(
               ErrorCode::usage,
               "expected [rows, heads, an even head_dim up to 512], found " + x.shape.to_string())
        .in_field("rope x");
  }
  if (positions.dtype != DType::i32 || positions.shape != Shape{x.rows()} ||
      positions.device != context.device) {
    return make_error(ErrorCode::usage,
                      "expected i32 [" + std::to_string(x.rows()) + "] on the device")
        .in_field("rope positions");
  }
  if (!(theta > 0.0f) || !std::isfinite(theta)) {
    return make_error(ErrorCode::usage,
                      "expected a positive number, found " + std::to_string(theta))
        .in_field("rope theta");
  }
  if (x.shape.elements() == 0) return {};
  const auto heads = static_cast<int>(x.shape[1]);
  const auto half = static_cast<int>(x.shape[2] / 2);
  const double log2_ratio = -std::log2(static_cast<double>(theta)) / half;
  return with_float_type(x.dtype, [&](auto type) -> Status {
    using T = typename decltype(type)::type;
    constexpr int kCount = 16 / sizeof(T);
    const bool packed = half % kCount == 0 && (x.rows() == 1 || x.row_stride % kCount == 0) &&
                        reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0;
    const int packs = heads * half / (packed ? kCount : 1);
    // Few rows: each spreads over the card. Many fill it by themselves.
    const bool few = x.rows() < 64;
    const int threads = few ? 64 : kThreads;
    const auto parts = static_cast<unsigned>(few ? (packs + threads - 1) / threads : 1);
    return launch_early(context, "rope", packed ? rope_kernel<T, kCount> : rope_kernel<T, 1>,
                        dim3(static_cast<unsigned>(x.rows()), parts), threads, 0,
                        reinterpret_cast<T*>(x.data), x.row_stride, positions.as<std::int32_t>(),
                        heads, half, log2_ratio);
  });
}

}  // namespace fovea
