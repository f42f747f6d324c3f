#include "kernels/ops/cut/cut_cuda.h"

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/runtime.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;

__global__ __launch_bounds__(kThreads) void scale_scores_kernel(float* scores,
                                                                const double* factors, int count) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  const double factor = factors[i];
  scores[i] = factor == 0.0 ? 0.0f : static_cast<float>(scores[i] * factor);
}

__global__ __launch_bounds__(kThreads) void surviving_rows_kernel(const std::int32_t* kept,
                                                                  int kept_count, int first,
                                                                  int present, std::int32_t* rows,
                                                                  int count) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  const int place = i - first;
  rows[i] = place < 0 ? i : place < kept_count ? first + kept[place] : i + present - kept_count;
}

__global__ __launch_bounds__(kThreads) void pick_numbers_kernel(const std::int32_t* from,
                                                                const std::int32_t* rows,
                                                                std::int32_t* to, int count) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) to[i] = from[rows[i]];
}

}  // namespace

Status scale_scores_cuda(Context& context, TensorView scores, std::span<const double> factors) {
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const double* const there, upload(context, factors));
  const auto count = static_cast<int>(factors.size());
  scale_scores_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream_of(context)>>>(
      scores.as<float>(), there, count);
  FOVEA_LAUNCH_CHECK("scale_scores");
  return {};
}

Status surviving_rows_cuda(Context& context, ConstTensorView kept, std::int64_t first,
                           std::int64_t present, TensorView rows) {
  const auto count = static_cast<int>(rows.shape[0]);
  surviving_rows_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream_of(context)>>>(
      kept.as<std::int32_t>(), static_cast<int>(kept.shape[0]), static_cast<int>(first),
      static_cast<int>(present), rows.as<std::int32_t>(), count);
  FOVEA_LAUNCH_CHECK("surviving_rows");
  return {};
}

Status pick_numbers_cuda(Context& context, ConstTensorView from, ConstTensorView rows,
                         TensorView to) {
  const auto count = static_cast<int>(rows.shape[0]);
  pick_numbers_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream_of(context)>>>(
      from.as<std::int32_t>(), rows.as<std::int32_t>(), to.as<std::int32_t>(), count);
  FOVEA_LAUNCH_CHECK("pick_numbers");
  return {};
}

}  // namespace fovea
