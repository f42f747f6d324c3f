#include "kernels/ops/norm/norm_cuda.h"

#include <string>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/ops/common/checks.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;
constexpr int kMostPacks = 8;  // float4 of a row that a thread holds

/// The block's sum, for every thread.
__device__ float block_sum(float value) {
  __shared__ float partial[32];
  const int warps = static_cast<int>(blockDim.x) / 32;
  value = sum_of_warp(value);
  __syncthreads();  // the last sum has been read
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int i = 0; i < warps; ++i) sum += partial[i];
  return sum;
}

template <class T>
struct alignas(sizeof(T) * 4) Four {
  T values[4];
};

/// The same as norm_kernel for rows of whole float4, which stay in registers: read once. kPacks of
/// them a thread.
template <class Y, bool kCentred, int kPacks>
__global__ void norm_packs_kernel(const float* x, std::int64_t x_stride, const float* weight,
                                  const float* bias, float epsilon, Y* y, std::int64_t y_stride,
                                  int width) {
  using Input = Four<float>;
  const auto* from = reinterpret_cast<const Input*>(x + blockIdx.x * x_stride);
  auto* to = reinterpret_cast<Four<Y>*>(y + blockIdx.x * y_stride);
  const int count = width / 4, threads = static_cast<int>(blockDim.x);
  Input held[kPacks], weights[kPacks];
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * threads;
    if (i < count) weights[k] = reinterpret_cast<const Input*>(weight)[i];
  }
  let_next_prepare();
  wait_for_previous();
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * threads;
    if (i < count) held[k] = from[i];
  }
  float mean = 0.0f;
  if (kCentred) {
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (static_cast<int>(threadIdx.x) + k * threads >= count) continue;
#pragma unroll
      for (int c = 0; c < 4; ++c) sum += held[k].values[c];
    }
    mean = block_sum(sum) / static_cast<float>(width);
  }
  float squares = 0.0f;
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    if (static_cast<int>(threadIdx.x) + k * threads >= count) continue;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const float centred = held[k].values[c] - mean;
      squares += centred * centred;
    }
  }
  const float factor = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(width) + epsilon);
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * threads;
    if (i >= count) continue;
    Input added{};
    if (kCentred) added = reinterpret_cast<const Input*>(bias)[i];
    Four<Y> result;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const float scaled = (held[k].values[c] - mean) * factor;
      result.values[c] =
          store_float<Y>(kCentred ? fmaf(scaled, weights[k].values[c], added.values[c])
                                  : scaled * weights[k].values[c]);
    }
    to[i] = result;
  }
}

/// One block a row. x may be y.
template <class Y, bool kCentred>
__global__ __launch_bounds__(kThreads) void norm_kernel(const float* x, std::int64_t x_stride,
                                                        const float* weight, const float* bias,
                                                        float epsilon, Y* y, std::int64_t y_stride,
                                                        int width) {
  let_next_prepare();
  wait_for_previous();
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
  const auto whole = [](ConstTensorView view) {
    return view.shape[view.shape.rank() - 1] % 4 == 0 &&
           (view.rows() <= 1 || view.shape.rank() == 1 || view.row_stride % 4 == 0) &&
           reinterpret_cast<std::uintptr_t>(view.data) % 16 == 0;
  };
  const std::int64_t packs = x.shape[1] / 4;
  const bool packed = whole(x) && whole(y) && whole(weight) && (bias.empty() || whole(bias)) &&
                      packs <= kMostPacks * 512;
  // Few rows: as many threads as help one of them. Many rows fill the card by themselves.
  const int threads = packs > 256 && x.rows() < 132 ? 512 : packs > 64 ? 256 : 64;
  return with_float_type(y.dtype, [&](auto type) -> Status {
    using Y = typename decltype(type)::type;
    const auto launch = [&](auto kernel, int block) {
      return launch_early(context, "norm", kernel, static_cast<unsigned>(x.rows()), block, 0,
                          x.as<float>(), x.row_stride, weight.as<float>(), bias.as<float>(),
                          epsilon, reinterpret_cast<Y*>(y.data), y.row_stride,
                          static_cast<int>(x.shape[1]));
    };
    const bool centred = !bias.empty();
    if (packed && packs <= threads) {
      return launch(centred ? norm_packs_kernel<Y, true, 1> : norm_packs_kernel<Y, false, 1>,
                    threads);
    }
    if (packed && packs <= threads * 4) {
      return launch(centred ? norm_packs_kernel<Y, true, 4> : norm_packs_kernel<Y, false, 4>,
                    threads);
    }
    if (packed && packs <= threads * kMostPacks) {
      return launch(centred ? norm_packs_kernel<Y, true, kMostPacks>
                            : norm_packs_kernel<Y, false, kMostPacks>,
                    threads);
    }
    return launch(centred ? norm_kernel<Y, true> : norm_kernel<Y, false>, kThreads);
  });
}

}  // namespace fovea
