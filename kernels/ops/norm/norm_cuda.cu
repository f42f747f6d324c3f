#include "kernels/ops/norm/norm_cuda.h"

#include <string>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/common/checks.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;

/// The block's sum, for every thread.
__device__ float block_sum(float value) {
  __shared__ float partial[kThreads / 32];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  __syncthreads();  // the last sum has been read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kThreads / 32; ++i) sum += partial[i];
  return sum;
}

/// One block a row. x may be y.
template <class Y, bool kCentred>
__global__ __launch_bounds__(kThreads) void norm_kernel(const float* x, std::int64_t x_stride,
                                                        const float* weight, const float* bias,
                                                        float epsilon, Y* y, std::int64_t y_stride,
                                                        int width) {
  const float* from = x + blockIdx.x * x_stride;
  Y* to = y + blockIdx.x * y_stride;
  float mean = 0.0f;
  if (kCentred) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += kThreads) sum += from[i];
    mean = block_sum(sum) / static_cast<float>(width);
  }
  float squares = 0.0f;
  for (int i = threadIdx.x; i < width; i += kThreads) {
    const float centred = from[i] - mean;
    squares += centred * centred;
  }
  const float factor = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(width) + epsilon);
  for (int i = threadIdx.x; i < width; i += kThreads) {
    const float scaled = (from[i] - mean) * factor;
    to[i] = store_float<Y>(kCentred ? fmaf(scaled, weight[i], bias[i]) : scaled * weight[i]);
  }
}

}  // namespace

Status norm_cuda(Context& context, ConstTensorView x, ConstTensorView weight, ConstTensorView bias,
                 float epsilon, TensorView y) {
  FOVEA_CHECK(check_f32_rank(context, "norm x", x, 2));
  FOVEA_CHECK(check_activation_shape(context, "norm y", y, x.shape));
  FOVEA_CHECK(check_f32_shape(context, "norm weight", weight, {x.shape[1]}));
  if (!bias.empty()) FOVEA_CHECK(check_f32_shape(context, "norm bias", bias, {x.shape[1]}));
  if (!(epsilon >= 0.0f)) {
    return make_error(ErrorCode::usage, "epsilon must be at least 0").in_field("norm epsilon");
  }
  if (x.shape.elements() == 0) return {};
  return with_float_type(y.dtype, [&](auto type) -> Status {
    using Y = typename decltype(type)::type;
    const auto kernel = bias.empty() ? norm_kernel<Y, false> : norm_kernel<Y, true>;
    kernel<<<static_cast<unsigned>(x.rows()), kThreads, 0, stream_of(context)>>>(
        x.as<float>(), x.row_stride, weight.as<float>(), bias.as<float>(), epsilon,
        reinterpret_cast<Y*>(y.data), y.row_stride, static_cast<int>(x.shape[1]));
    FOVEA_LAUNCH_CHECK("norm");
    return {};
  });
}

}  // namespace fovea
