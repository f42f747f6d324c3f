#include <algorithm>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/counts/counts_cuda.h"

namespace fovea {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

/// Larger scores rank before smaller ones, NaN last, lower indices first among equals.
__device__ __forceinline__ bool before(float a, int i, float b, int j) {
  const bool a_nan = isnan(a), b_nan = isnan(b);
  if (a_nan != b_nan) return b_nan;
  if (!a_nan && a != b) return a > b;
  return i < j;
}

constexpr int kEach = 4;  // scores that a warp ranks together

/// ranks[i] = how many scores rank before i. Lanes share out those to compare with.
__global__ void __launch_bounds__(kThreads)
    rank_kernel(const float* scores, int count, std::int32_t* ranks) {
  const int first = (blockIdx.x * kWarps + threadIdx.x / 32) * kEach, lane = threadIdx.x % 32;
  if (first >= count) return;
  float own[kEach];
  int rank[kEach] = {};
#pragma unroll
  for (int k = 0; k < kEach; ++k) own[k] = first + k < count ? scores[first + k] : 0.0f;
  for (int j = lane; j < count; j += 32) {
    const float other = scores[j];
#pragma unroll
    for (int k = 0; k < kEach; ++k) rank[k] += before(other, j, own[k], first + k) ? 1 : 0;
  }
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    rank[k] = sum_of_warp(rank[k]);
    if (lane == 0 && first + k < count) ranks[first + k] = rank[k];
  }
}

__global__ void __launch_bounds__(kThreads)
    sort_kernel(const float* scores, const std::int32_t* ranks, int count, float* sorted) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) sorted[ranks[i]] = scores[i];
}

/// One block: counts the values before which the sum has not reached its share.
__global__ void __launch_bounds__(kThreads)
    carrying_kernel(const float* sorted, int count, double tau, std::int32_t* carrying) {
  __shared__ double parts[kThreads];
  __shared__ int counted[kWarps];
  // Every thread has a stretch of its own.
  const int each = (count + kThreads - 1) / kThreads;
  const int begin = min(count, static_cast<int>(threadIdx.x) * each),
            end = min(count, begin + each);
  double sum = 0.0;
  for (int i = begin; i < end; ++i) sum += sorted[i];
  parts[threadIdx.x] = sum;
  __syncthreads();
  double total = 0.0, reached = 0.0;
  for (int t = 0; t < kThreads; ++t) {
    if (t == static_cast<int>(threadIdx.x)) reached = total;
    total += parts[t];
  }
  const double wanted = tau * total;
  int here = 0;
  for (int i = begin; i < end && reached < wanted; ++i) {
    reached += sorted[i];
    ++here;
  }
  here = sum_of_block<kWarps>(here, counted);
  if (threadIdx.x == 0) *carrying = here;
}

__global__ void __launch_bounds__(kThreads)
    divide_kernel(float* scores, const float* divisors, int count) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) scores[i] = __fdiv_rn(scores[i], divisors[i]);
}

/// One block.
__global__ void __launch_bounds__(kThreads)
    listed_kernel(const std::int32_t* ranks, const std::int32_t* limit, const std::int32_t* listed,
                  int count, std::int32_t* found) {
  __shared__ int counted[kWarps];
  int here = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) here += ranks[listed[i]] < *limit ? 1 : 0;
  here = sum_of_block<kWarps>(here, counted);
  if (threadIdx.x == 0) *found = here;
}

/// One block: the indices that `chosen` tells close up, -1 behind them. Returns their number.
template <class Chosen>
__device__ int close_up(Chosen chosen, int count, std::int32_t* indices, int* counted) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int written = 0;
  for (int first = 0; first < count; first += kThreads) {
    const int i = first + threadIdx.x;
    const bool here = i < count && chosen(i);
    const unsigned votes = __ballot_sync(0xFFFFFFFFu, here);
    if (lane == 0) counted[warp] = __popc(votes);
    __syncthreads();
    int place = written + __popc(votes & ((1u << lane) - 1));
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) place += counted[w];
      written += counted[w];
    }
    if (here) indices[place] = i;
    __syncthreads();
  }
  for (int i = written + threadIdx.x; i < count; i += kThreads) indices[i] = -1;
  return written;
}

/// One block.
__global__ void __launch_bounds__(kThreads)
    low_ranks_kernel(const std::int32_t* ranks, int count, int most, std::int32_t* limit,
                     std::int32_t* indices) {
  __shared__ int counted[kWarps];
  int wanted = *limit;
  wanted = wanted < 0 ? 0 : wanted > most ? most : wanted;
  close_up([=](int i) { return ranks[i] < wanted; }, count, indices, counted);
  __syncthreads();
  if (threadIdx.x == 0) *limit = wanted;
}

/// One block.
__global__ void __launch_bounds__(kThreads)
    above_kernel(const float* scores, int count, float threshold, std::int32_t* found,
                 std::int32_t* indices) {
  __shared__ int counted[kWarps];
  const int number =
      close_up([=](int i) { return scores[i] > threshold; }, count, indices, counted);
  if (threadIdx.x == 0) *found = number;
}

Result<const std::int32_t*> ranked(Context& context, ConstTensorView scores) {
  const auto count = static_cast<int>(scores.shape[0]);
  FOVEA_TRY(const TensorView ranks, context.workspace.take({count}, DType::i32));
  if (count > 0) {
    rank_kernel<<<blocks_for(count, kWarps * kEach), kThreads, 0, stream_of(context)>>>(
        scores.as<float>(), count, ranks.as<std::int32_t>());
    FOVEA_LAUNCH_CHECK("ranks");
  }
  return ranks.as<std::int32_t>();
}

}  // namespace

Status tokens_carrying_cuda(Context& context, ConstTensorView mass, double tau, TensorView count) {
  const Workspace::Scope scope(context.workspace);
  const auto n = static_cast<int>(mass.shape[0]);
  FOVEA_TRY(const std::int32_t* const ranks, ranked(context, mass));
  FOVEA_TRY(const TensorView sorted, context.workspace.take({n}, DType::f32));
  if (n > 0) {
    sort_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream_of(context)>>>(
        mass.as<float>(), ranks, n, sorted.as<float>());
    FOVEA_LAUNCH_CHECK("sort by rank");
  }
  carrying_kernel<<<1, kThreads, 0, stream_of(context)>>>(sorted.as<float>(), n, tau,
                                                          count.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("tokens carrying");
  return {};
}

Status divide_scores_cuda(Context& context, TensorView scores, std::span<const float> divisors) {
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const float* const there, upload(context, divisors));
  const auto count = static_cast<int>(divisors.size());
  divide_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream_of(context)>>>(
      scores.as<float>(), there, count);
  FOVEA_LAUNCH_CHECK("divide scores");
  return {};
}

Status listed_among_best_cuda(Context& context, ConstTensorView scores, ConstTensorView count,
                              std::span<const std::int32_t> listed, TensorView found) {
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const std::int32_t* const ranks, ranked(context, scores));
  FOVEA_TRY(const std::int32_t* const there, upload(context, listed));
  listed_kernel<<<1, kThreads, 0, stream_of(context)>>>(ranks, count.as<std::int32_t>(), there,
                                                        static_cast<int>(listed.size()),
                                                        found.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("listed among the best");
  return {};
}

Status best_indices_cuda(Context& context, ConstTensorView scores, std::int64_t most,
                         TensorView count, TensorView indices) {
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const std::int32_t* const ranks, ranked(context, scores));
  low_ranks_kernel<<<1, kThreads, 0, stream_of(context)>>>(
      ranks, static_cast<int>(scores.shape[0]), static_cast<int>(most), count.as<std::int32_t>(),
      indices.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("best indices");
  return {};
}

Status indices_above_cuda(Context& context, ConstTensorView scores, float threshold,
                          TensorView count, TensorView indices) {
  above_kernel<<<1, kThreads, 0, stream_of(context)>>>(
      scores.as<float>(), static_cast<int>(scores.shape[0]), threshold, count.as<std::int32_t>(),
      indices.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("indices above");
  return {};
}

}  // namespace fovea
