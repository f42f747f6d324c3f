#include "kernels/ops/reduce/reduce_cuda.h"

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rank.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/vector.cuh"

namespace fovea {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;

/// A block has 32 tokens of one head: their columns by lanes, then their rows by warps.
__global__ void __launch_bounds__(kThreads)
    affinity_kernel(const float* tile, std::int64_t head_stride, int n, float* out, std::int64_t out_stride) {
  let_next_prepare();
  wait_for_previous();
  const float* const p = tile + blockIdx.y * head_stride;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = blockIdx.x * 32;
  __shared__ float columns[kWarps][32];
  float sum = 0.0f;
  if (first + lane < n) {
    for (int i = warp; i < n; i += kWarps) sum += p[std::int64_t{i} * n + first + lane];
  }
  columns[warp][lane] = sum;
  __syncthreads();
  for (int token = first + warp; token < min(first + 32, n); token += kWarps) {
    float row = 0.0f;
    for (int j = lane; j < n; j += 32) row += p[std::int64_t{token} * n + j];
    row = sum_of_warp(row);
    if (lane > 0) continue;
    float column = 0.0f;
    for (int w = 0; w < kWarps; ++w) column += columns[w][token - first];
    out[blockIdx.y * out_stride + token] = column + row - p[std::int64_t{token} * n + token];
  }
}

// ---- Top k -----------------------------------------------------------------------------------------

constexpr int kSelectThreads = 1024;

/// NaN lowest.
__device__ __forceinline__ std::uint32_t rank_of_score(float score) {
  return isnan(score) ? 0 : rank_of(score);
}

/// How many threads of the block before this one hold `flag`, and how many altogether.
__device__ __forceinline__ int count_before(bool flag, int* warp_counts, int* all) {
  const unsigned ballot = __ballot_sync(0xFFFFFFFFu, flag);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (lane == 0) warp_counts[warp] = __popc(ballot);
  __syncthreads();
  int before = __popc(ballot & ((1u << lane) - 1));
  *all = 0;
  for (int w = 0; w < kSelectThreads / 32; ++w) {
    if (w < warp) before += warp_counts[w];
    *all += warp_counts[w];
  }
  __syncthreads();
  return before;
}

/// Finds the k-th largest rank byte by byte, then writes the indices of all that lie above it and of
/// the first ones that equal it.
__global__ void __launch_bounds__(kSelectThreads)
    top_k_kernel(const float* scores, int n, int k, std::int32_t* indices) {
  let_next_prepare();
  wait_for_previous();
  __shared__ int histogram[256];
  __shared__ int warp_counts[kSelectThreads / 32];
  __shared__ std::uint32_t shared_prefix;
  __shared__ int shared_wanted;
  std::uint32_t prefix = 0, mask = 0;
  int wanted = k;  // of those whose upper bytes equal the prefix
  for (int shift = 24; shift >= 0; shift -= 8) {
    if (threadIdx.x < 256) histogram[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += kSelectThreads) {
      const std::uint32_t rank = rank_of_score(scores[i]);
      if ((rank & mask) == prefix) atomicAdd(&histogram[rank >> shift & 255], 1);
    }
    __syncthreads();
    if (threadIdx.x < 32) {
      // Lane l has the eight bytes that end 8 l below the highest; ranks in them and above are counted.
      const int lane = threadIdx.x, top = 255 - 8 * lane;
      int here = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) here += histogram[top - i];
      int above = here;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int other = __shfl_up_sync(0xFFFFFFFFu, above, step);
        if (lane >= step) above += other;
      }
      above -= here;  // of the lanes before
      if (above < wanted && above + here >= wanted) {
        int byte = top, left = wanted - above;
        while (histogram[byte] < left) left -= histogram[byte--];
        shared_prefix = prefix | static_cast<std::uint32_t>(byte) << shift;
        shared_wanted = left;
      }
    }
    __syncthreads();
    prefix = shared_prefix;
    wanted = shared_wanted;
    mask |= 255u << shift;
  }
  int written = 0, equal_before = 0;
  for (int first = 0; first < n; first += kSelectThreads) {
    const int i = first + threadIdx.x;
    const std::uint32_t rank = i < n ? rank_of_score(scores[i]) : 0;
    const bool equal = i < n && rank == prefix;
    int equals, chosen_here;
    const int place_among_equals = equal_before + count_before(equal, warp_counts, &equals);
    const bool chosen = i < n && (rank > prefix || (equal && place_among_equals < wanted));
    const int place = written + count_before(chosen, warp_counts, &chosen_here);
    if (chosen) indices[place] = i;
    equal_before += equals;
    written += chosen_here;
  }
}

// ---- Norms -----------------------------------------------------------------------------------------

/// A warp has one row of one head.
template <class T>
__global__ void __launch_bounds__(kThreads)
    norm_kernel(const T* x, std::int64_t row_stride, int rows, int heads, int channels, float* norms,
                std::int64_t norms_stride) {
  const int item = blockIdx.x * kWarps + threadIdx.x / 32;
  if (item >= rows * heads) return;
  const int row = item / heads, head = item % heads;
  const T* const from = x + row * row_stride + std::int64_t{head} * channels;
  double squares = 0.0;
  for (int c = threadIdx.x % 32; c < channels; c += 32) {
    const double value = load_float(from[c]);
    squares += value * value;
  }
  squares = sum_of_warp(squares);
  if (threadIdx.x % 32 == 0) norms[head * norms_stride + row] = static_cast<float>(sqrt(squares));
}

}  // namespace

Status affinity_sums_cuda(Context& context, ConstTensorView tile, TensorView out) {
  const std::int64_t n = tile.shape[1];
  if (out.shape.elements() == 0) return {};
  const dim3 grid(blocks_for(n, 32), static_cast<unsigned>(tile.shape[0]));
  return launch_early(context, "affinity sums", affinity_kernel, grid, kThreads, 0, tile.as<float>(),
                      tile.row_stride, static_cast<int>(n), out.as<float>(), out.row_stride);
}

Status top_k_indices_cuda(Context& context, ConstTensorView scores, TensorView indices) {
  if (indices.shape[0] == 0) return {};
  return launch_early(context, "top k", top_k_kernel, 1, kSelectThreads, 0, scores.as<float>(),
                      static_cast<int>(scores.shape[0]), static_cast<int>(indices.shape[0]),
                      indices.as<std::int32_t>());
}

Status channel_norms_cuda(Context& context, ConstTensorView x, TensorView norms) {
  const std::int64_t items = x.shape[0] * x.shape[1];
  if (items == 0) return {};
  return with_float_type(x.dtype, [&](auto type) -> Status {
    using T = typename decltype(type)::type;
    norm_kernel<<<blocks_for(items, kWarps), kThreads, 0, stream_of(context)>>>(
        reinterpret_cast<const T*>(x.data), x.row_stride, static_cast<int>(x.shape[0]),
        static_cast<int>(x.shape[1]), static_cast<int>(x.shape[2]), norms.as<float>(), norms.row_stride);
    FOVEA_LAUNCH_CHECK("channel norms");
    return {};
  });
}

}  // namespace fovea
