#include "kernels/ops/ratings/ratings_cuda.h"

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/runtime.h"

namespace fovea {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

__global__ void __launch_bounds__(kThreads) multiply_kernel(float* a, const float* b, int count) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) a[i] *= b[i];
}

__global__ void __launch_bounds__(kThreads) shift_kernel(std::int32_t* numbers, int count, int by) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) numbers[i] += by;
}

// ---- Raters ------------------------------------------------------------------------------------

/// A warp has one token: the largest of its products, and the sum of the exponentials.
__global__ void __launch_bounds__(kThreads)
    softmax_parts_kernel(const float* products, std::int64_t stride, int tokens, int words,
                         float* largest, double* sums) {
  const int token = blockIdx.x * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (token >= tokens) return;
  const float* const dots = products + token * stride;
  float most = dots[0];
  for (int w = lane; w < words; w += 32) most = dots[w] > most ? dots[w] : most;
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFu, most, step);
    most = other > most ? other : most;
  }
  double sum = 0.0;
  for (int w = lane; w < words; w += 32) sum += exp(dots[w] - static_cast<double>(most));
  sum = sum_of_warp(sum);
  if (lane == 0) {
    largest[token] = most;
    sums[token] = sum;
  }
}

/// A block has one word.
__global__ void __launch_bounds__(kThreads)
    affinity_of_words_kernel(const float* products, std::int64_t stride, int tokens,
                             const float* largest, const double* sums, double* affinity) {
  __shared__ double parts[kWarps];
  double sum = 0.0;
  for (int token = threadIdx.x; token < tokens; token += kThreads) {
    const float dot = products[token * stride + blockIdx.x];
    sum += exp(dot - static_cast<double>(largest[token])) / sums[token];
  }
  sum = sum_of_block<kWarps>(sum, parts);
  if (threadIdx.x == 0) affinity[blockIdx.x] = sum;
}

/// One block.
__global__ void __launch_bounds__(kThreads)
    shares_kernel(const double* affinity, int words, float* shares) {
  __shared__ double parts[kWarps];
  double sum = 0.0;
  for (int w = threadIdx.x; w < words; w += kThreads) sum += affinity[w];
  const double mean = sum_of_block<kWarps>(sum, parts) / words;
  double above = 0.0;
  for (int w = threadIdx.x; w < words; w += kThreads) above += affinity[w] > mean ? 1.0 : 0.0;
  above = sum_of_block<kWarps>(above, parts);
  const bool all = above == 0.0;
  const float share = 1.0f / static_cast<float>(all ? words : above);
  for (int w = threadIdx.x; w < words; w += kThreads) {
    shares[w] = all || affinity[w] > mean ? share : 0.0f;
  }
}

// ---- Ratings -----------------------------------------------------------------------------------

struct Rating {
  const float* tile;
  std::int64_t head_stride;
  const float* shares;
  const std::int32_t* rows;
  const std::int32_t* columns;
  const float* weights;
  float* ratings;
  std::int64_t ratings_stride;
  int count, width;
};

/// Products and sums are rounded apart, as on the host.
__global__ void __launch_bounds__(kThreads) rating_kernel(const Rating task) {
  const int column = blockIdx.x * kThreads + threadIdx.x;
  if (column >= task.width) return;
  const float* const p = task.tile + blockIdx.y * task.head_stride + column;
  const int place = task.columns[column];
  float rating = 0.0f;
  for (int r = 0; r < task.count; ++r) {
    const float share = task.shares[r];
    if (share == 0.0f) continue;
    const int apart = task.rows[r] - place;
    const float correction = __fdiv_rn(share, task.weights[apart < 0 ? -apart : apart]);
    rating = __fadd_rn(rating, __fmul_rn(p[std::int64_t{r} * task.width], correction));
  }
  task.ratings[blockIdx.y * task.ratings_stride + column] = rating;
}

__global__ void __launch_bounds__(kThreads)
    row_sums_kernel(const float* x, std::int64_t stride, int width, float* sums) {
  __shared__ double parts[kWarps];
  double sum = 0.0;
  for (int c = threadIdx.x; c < width; c += kThreads) sum += x[blockIdx.x * stride + c];
  sum = sum_of_block<kWarps>(sum, parts);
  if (threadIdx.x == 0) sums[blockIdx.x] = static_cast<float>(sum);
}

__global__ void __launch_bounds__(kThreads)
    mean_of_rows_kernel(const float* x, std::int64_t stride, const std::int32_t* rows, int count,
                        int width, float* mean) {
  const int column = blockIdx.x * kThreads + threadIdx.x;
  if (column >= width) return;
  float sum = 0.0f;
  for (int i = 0; i < count; ++i) {
    const float value = x[rows[i] * stride + column];
    sum = __fadd_rn(sum, __fdiv_rn(value, static_cast<float>(count)));
  }
  mean[column] = sum;
}

__global__ void __launch_bounds__(kThreads)
    head_norms_kernel(const float* class_rows, std::int64_t class_stride, const float* norms,
                      std::int64_t norms_stride, int heads, int count, float* scores) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  double total = 1e-8, weighted = 0.0;
  for (int head = 0; head < heads; ++head) {
    const double norm = norms[head * norms_stride + i];
    total += norm;
    weighted += norm * class_rows[head * class_stride + i];
  }
  scores[i] = static_cast<float>(weighted / total);
}

__global__ void __launch_bounds__(kThreads)
    blend_kernel(float* state, float old, const float* scores, float fresh, int count) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) state[i] = __fadd_rn(__fmul_rn(old, state[i]), __fmul_rn(fresh, scores[i]));
}

}  // namespace

Status scores_by_head_norms_cuda(Context& context, ConstTensorView class_rows,
                                 ConstTensorView norms, TensorView scores) {
  const auto count = static_cast<int>(scores.shape[0]);
  head_norms_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream_of(context)>>>(
      class_rows.as<float>(), class_rows.row_stride, norms.as<float>(), norms.row_stride,
      static_cast<int>(class_rows.rows()), count, scores.as<float>());
  FOVEA_LAUNCH_CHECK("scores by head norms");
  return {};
}

Status blend_scores_cuda(Context& context, TensorView state, float old, ConstTensorView scores,
                         float fresh) {
  const auto count = static_cast<int>(state.shape[0]);
  blend_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream_of(context)>>>(
      state.as<float>(), old, scores.as<float>(), fresh, count);
  FOVEA_LAUNCH_CHECK("blend scores");
  return {};
}

Status multiply_scores_cuda(Context& context, TensorView a, ConstTensorView b) {
  const auto count = static_cast<int>(a.shape[0]);
  multiply_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream_of(context)>>>(
      a.as<float>(), b.as<float>(), count);
  FOVEA_LAUNCH_CHECK("multiply scores");
  return {};
}

Status shift_numbers_cuda(Context& context, TensorView numbers, std::int32_t by) {
  const auto count = static_cast<int>(numbers.shape[0]);
  shift_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream_of(context)>>>(
      numbers.as<std::int32_t>(), count, by);
  FOVEA_LAUNCH_CHECK("shift numbers");
  return {};
}

Status rater_shares_cuda(Context& context, ConstTensorView products, TensorView shares) {
  const Workspace::Scope scope(context.workspace);
  const auto tokens = static_cast<int>(products.rows()),
             words = static_cast<int>(products.shape[1]);
  const cudaStream_t stream = stream_of(context);
  FOVEA_TRY(const TensorView largest, context.workspace.take({tokens}, DType::f32));
  // The workspace knows no double: numbers of eight bytes.
  FOVEA_TRY(const TensorView sums, context.workspace.take({tokens}, DType::i64));
  FOVEA_TRY(const TensorView affinity, context.workspace.take({words}, DType::i64));
  if (tokens > 0) {
    softmax_parts_kernel<<<blocks_for(tokens, kWarps), kThreads, 0, stream>>>(
        products.as<float>(), products.row_stride, tokens, words, largest.as<float>(),
        sums.as<double>());
    FOVEA_LAUNCH_CHECK("parts of a softmax");
  }
  affinity_of_words_kernel<<<static_cast<unsigned>(words), kThreads, 0, stream>>>(
      products.as<float>(), products.row_stride, tokens, largest.as<float>(), sums.as<double>(),
      affinity.as<double>());
  FOVEA_LAUNCH_CHECK("affinity of words");
  shares_kernel<<<1, kThreads, 0, stream>>>(affinity.as<double>(), words, shares.as<float>());
  FOVEA_LAUNCH_CHECK("shares of raters");
  return {};
}

Status rate_by_distance_cuda(Context& context, ConstTensorView tile, ConstTensorView shares,
                             std::span<const std::int32_t> rows,
                             std::span<const std::int32_t> columns, std::span<const float> weights,
                             TensorView ratings) {
  const Workspace::Scope scope(context.workspace);
  Rating task{tile.as<float>(), tile.row_stride, shares.as<float>()};
  FOVEA_TRY(task.rows, upload(context, rows));
  FOVEA_TRY(task.columns, upload(context, columns));
  FOVEA_TRY(task.weights, upload(context, weights));
  task.ratings = ratings.as<float>();
  task.ratings_stride = ratings.row_stride;
  task.count = static_cast<int>(rows.size());
  task.width = static_cast<int>(columns.size());
  const dim3 grid(blocks_for(task.width, kThreads), static_cast<unsigned>(tile.shape[0]));
  rating_kernel<<<grid, kThreads, 0, stream_of(context)>>>(task);
  FOVEA_LAUNCH_CHECK("rate by distance");
  return {};
}

Status row_sums_cuda(Context& context, ConstTensorView x, TensorView sums) {
  row_sums_kernel<<<static_cast<unsigned>(x.rows()), kThreads, 0, stream_of(context)>>>(
      x.as<float>(), x.row_stride, static_cast<int>(x.shape[1]), sums.as<float>());
  FOVEA_LAUNCH_CHECK("row sums");
  return {};
}

Status mean_of_rows_cuda(Context& context, ConstTensorView x, ConstTensorView rows,
                         TensorView mean) {
  const auto width = static_cast<int>(mean.shape[0]);
  mean_of_rows_kernel<<<blocks_for(width, kThreads), kThreads, 0, stream_of(context)>>>(
      x.as<float>(), x.row_stride, rows.as<std::int32_t>(), static_cast<int>(rows.shape[0]), width,
      mean.as<float>());
  FOVEA_LAUNCH_CHECK("mean of rows");
  return {};
}

}  // namespace fovea
