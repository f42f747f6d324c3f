#include "kernels/ops/alike/alike_cuda.h"

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/vector.cuh"

namespace fovea {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

__device__ __forceinline__ double dot_of_warp(const float* a, const float* b, int width) {
  double sum = 0.0;
  for (int c = threadIdx.x % 32; c < width; c += 32) sum += static_cast<double>(a[c]) * b[c];
  return sum_of_warp(sum);
}

__global__ void __launch_bounds__(kThreads)
    lengths_kernel(const float* keys, std::int64_t stride, int n, int width, double* lengths) {
  const int row = blockIdx.x * kWarps + threadIdx.x / 32;
  if (row >= n) return;
  const float* const key = keys + row * stride;
  const double squares = dot_of_warp(key, key, width);
  if (threadIdx.x % 32 == 0) lengths[row] = sqrt(squares);
}

/// A block has one token of an even place, its warps those of odd places by turns.
__global__ void __launch_bounds__(kThreads)
    match_kernel(const float* keys, std::int64_t stride, int n, int width, int first_even,
                 int first_odd, const double* lengths, double* cosines, std::int32_t* targets) {
  __shared__ double nearest[kWarps];
  __shared__ int places[kWarps];
  const int warp = threadIdx.x / 32, a = first_even + 2 * static_cast<int>(blockIdx.x);
  double best = -INFINITY;
  int place = -1;
  for (int b = first_odd + 2 * warp; b < n; b += 2 * kWarps) {
    const double dot =
        dot_of_warp(keys + std::int64_t{a} * stride, keys + std::int64_t{b} * stride, width);
    const double scale = lengths[a] * lengths[b];
    const double cosine = scale > 0 ? dot / scale : 0.0;
    if (cosine > best) {
      best = cosine;
      place = b;
    }
  }
  if (threadIdx.x % 32 == 0) {
    nearest[warp] = best;
    places[warp] = place;
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int w = 1; w < kWarps; ++w) {
    const bool better = places[w] >= 0 && (place < 0 || nearest[w] > best ||
                                           (nearest[w] == best && places[w] < place));
    if (better) {
      best = nearest[w];
      place = places[w];
    }
  }
  cosines[blockIdx.x] = best;
  targets[blockIdx.x] = place;
}

/// A thread has one token: what it merges into, or -1. Those of even places by the rank of their
/// match.
__global__ void __launch_bounds__(kThreads)
    merged_into_kernel(const double* cosines, const std::int32_t* targets, int evens,
                       int first_even, int n, int merges, std::int32_t* into) {
  const int token = blockIdx.x * kThreads + threadIdx.x;
  if (token >= n) return;
  into[token] = -1;
  const int match = (token - first_even) / 2;
  if (token < first_even || token % 2 != first_even % 2 || match >= evens || targets[match] < 0) {
    return;
  }
  int rank = 0;
  for (int other = 0; other < evens; ++other) {
    const bool closer =
        cosines[other] > cosines[match] || (cosines[other] == cosines[match] && other < match);
    rank += closer && targets[other] >= 0 ? 1 : 0;
  }
  if (rank < merges) into[token] = targets[match];
}

struct Layout {
  const std::int32_t* into;
  const float* sizes;
  int n, special;
  std::int32_t* offsets;
  std::int32_t* members;
  float* weights;
  float* new_sizes;
  float* bias;
};

/// A thread has one token that stays: its place is counted from those before it.
__global__ void __launch_bounds__(kThreads) layout_kernel(const Layout layout) {
  const int token = blockIdx.x * kThreads + threadIdx.x;
  if (token == 0) layout.offsets[0] = 0;
  if (token >= layout.n || layout.into[token] >= 0) return;
  const bool odd = token >= layout.special && token % 2 == 1;
  // Special tokens, even ones and odd ones; before an odd one also what odd ones took in.
  int group = token, filled = token;
  if (token >= layout.special) {
    group = layout.special;
    int taken = 0;
    for (int other = layout.special; other < layout.n; ++other) {
      const int target = layout.into[other];
      taken += odd && target >= 0 && target < token ? 1 : 0;
      if (target >= 0) continue;
      const bool before = other % 2 == token % 2 ? other < token : odd;
      group += before ? 1 : 0;
    }
    filled = group + taken;
  }
  double size = layout.sizes[token];
  int count = 1;
  for (int other = layout.special; odd && other < layout.n; ++other) {
    if (layout.into[other] != token) continue;
    size += layout.sizes[other];
    layout.members[filled + count++] = other;
  }
  layout.members[filled] = token;
  for (int i = 0; i < count; ++i) {
    const double own = layout.sizes[layout.members[filled + i]];
    layout.weights[filled + i] = count == 1 ? 1.0f : static_cast<float>(own / size);
  }
  layout.offsets[group + 1] = filled + count;
  layout.new_sizes[group] = static_cast<float>(size);
  layout.bias[group] = logf(static_cast<float>(size));
}

}  // namespace

Status merge_alike_cuda(Context& context, ConstTensorView keys, ConstTensorView sizes,
                        std::int64_t special_count, const AlikeTokens& tokens) {
  const Workspace::Scope scope(context.workspace);
  const cudaStream_t stream = stream_of(context);
  const auto n = static_cast<int>(keys.rows()), width = static_cast<int>(keys.shape[1]);
  const auto special = static_cast<int>(special_count);
  const int left = static_cast<int>(tokens.groups.offsets.rows()) - 1;
  const int first_even = special + special % 2, first_odd = special + 1 - special % 2;
  const int evens = first_even < n ? (n - first_even + 1) / 2 : 0;
  // The workspace knows no double: numbers of eight bytes.
  FOVEA_TRY(const TensorView lengths, context.workspace.take({n}, DType::i64));
  FOVEA_TRY(const TensorView cosines, context.workspace.take({evens}, DType::i64));
  FOVEA_TRY(const TensorView targets, context.workspace.take({evens}, DType::i32));
  FOVEA_TRY(const TensorView into, context.workspace.take({n}, DType::i32));
  if (n == 0) {
    FOVEA_CUDA_CHECK(cudaMemsetAsync(tokens.groups.offsets.data, 0, sizeof(std::int32_t), stream));
    return {};
  }
  lengths_kernel<<<blocks_for(n, kWarps), kThreads, 0, stream>>>(keys.as<float>(), keys.row_stride,
                                                                 n, width, lengths.as<double>());
  FOVEA_LAUNCH_CHECK("lengths of keys");
  if (evens > 0) {
    match_kernel<<<static_cast<unsigned>(evens), kThreads, 0, stream>>>(
        keys.as<float>(), keys.row_stride, n, width, first_even, first_odd, lengths.as<double>(),
        cosines.as<double>(), targets.as<std::int32_t>());
    FOVEA_LAUNCH_CHECK("matches of keys");
  }
  merged_into_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream>>>(
      cosines.as<double>(), targets.as<std::int32_t>(), evens, first_even, n, n - left,
      into.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("closest matches");
  const Layout layout{into.as<std::int32_t>(),
                      sizes.as<float>(),
                      n,
                      special,
                      tokens.groups.offsets.as<std::int32_t>(),
                      tokens.groups.members.as<std::int32_t>(),
                      tokens.weights.as<float>(),
                      tokens.sizes.as<float>(),
                      tokens.bias.as<float>()};
  layout_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream>>>(layout);
  FOVEA_LAUNCH_CHECK("layout of merged tokens");
  return {};
}

}  // namespace fovea
