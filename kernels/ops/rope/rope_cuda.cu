#include "kernels/ops/rope/rope_cuda.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/common/checks.h"

namespace fovea {
namespace {

constexpr int kHeadsAtOnce = 4;
constexpr int kMostHalf = 256;

/// One block a row and group of heads; threads (channel, head of the group). Angles are formed in
/// double, where float32 would lose a digit per decade of position.
template <class T>
__global__ void rope_kernel(T* x, std::int64_t stride, const std::int32_t* positions, int heads,
                            int half, double log2_ratio) {
  let_next_prepare();
  wait_for_previous();
  const int channel = threadIdx.x;
  const double angle = static_cast<double>(positions[blockIdx.x]) * exp2(channel * log2_ratio);
  double sine_wide, cosine_wide;
  sincos(angle, &sine_wide, &cosine_wide);
  const auto sine = static_cast<float>(sine_wide), cosine = static_cast<float>(cosine_wide);
  T* row = x + blockIdx.x * stride;
  for (int head = blockIdx.y * kHeadsAtOnce + threadIdx.y; head < heads;
       head += gridDim.y * kHeadsAtOnce) {
    T* at = row + head * 2 * half + channel;
    const float first = load_float(at[0]), second = load_float(at[half]);
    at[0] = store_float<T>(fmaf(-second, sine, first * cosine));
    at[half] = store_float<T>(fmaf(first, sine, second * cosine));
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
  // A single row spreads over the card; many rows fill it by themselves.
  const auto groups =
      static_cast<unsigned>(x.rows() < 64 ? (heads + kHeadsAtOnce - 1) / kHeadsAtOnce
                                          : std::min(4, (heads + kHeadsAtOnce - 1) / kHeadsAtOnce));
  return with_float_type(x.dtype, [&](auto type) -> Status {
    using T = typename decltype(type)::type;
    return launch_early(
        context, "rope", rope_kernel<T>, dim3(static_cast<unsigned>(x.rows()), groups),
        dim3(static_cast<unsigned>(half), kHeadsAtOnce), 0, reinterpret_cast<T*>(x.data),
        x.row_stride, positions.as<std::int32_t>(), heads, half, log2_ratio);
  });
}

}  // namespace fovea
