#include "kernels/ops/similarity/similarity_cuda.h"

#include <algorithm>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/ops/reduce/reduce_cuda.h"

namespace fovea {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;

/// A warp has one row.
__global__ void __launch_bounds__(kThreads)
    normalize_kernel(const float* x, std::int64_t x_stride, float* y, std::int64_t y_stride, std::int64_t rows,
                     std::int64_t width) {
  const std::int64_t row = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32;
  if (row >= rows) return;
  const float* const from = x + row * x_stride;
  float* const to = y + row * y_stride;
  double squares = 0.0;
  for (std::int64_t i = threadIdx.x % 32; i < width; i += 32) {
    squares += static_cast<double>(from[i]) * from[i];
  }
  squares = sum_of_warp(squares);
  const auto factor = static_cast<float>(squares > 0 ? 1.0 / sqrt(squares) : 0.0);
  for (std::int64_t i = threadIdx.x % 32; i < width; i += 32) to[i] = from[i] * factor;
}

struct Products {
  const float* a;
  const float* b;
  float* out;
  std::int64_t a_stride, b_stride, out_stride, a_rows, b_rows, width;
};

/// A warp has kSide x kSide products; its lanes share out the width, always alike, so that a product
/// rounds the same in tiles of any size and with a and b exchanged.
template <int kSide>
__global__ void __launch_bounds__(kThreads) products_kernel(const Products task) {
  const std::int64_t row = blockIdx.y * std::int64_t{kSide};
  const std::int64_t column = (blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32) * kSide;
  if (column >= task.b_rows) return;
  const float* a[kSide];
  const float* b[kSide];
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    a[i] = task.a + min(row + i, task.a_rows - 1) * task.a_stride;
    b[i] = task.b + min(column + i, task.b_rows - 1) * task.b_stride;
  }
  float sum[kSide][kSide] = {};
  for (std::int64_t k = threadIdx.x % 32; k < task.width; k += 32) {
    float left[kSide], right[kSide];
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
      left[i] = a[i][k];
      right[i] = b[i][k];
    }
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
#pragma unroll
      for (int j = 0; j < kSide; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
    }
  }
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      const float value = sum_of_warp(sum[i][j]);
      if (threadIdx.x % 32 == 0 && row + i < task.a_rows && column + j < task.b_rows) {
        task.out[(row + i) * task.out_stride + column + j] = value;
      }
    }
  }
}

template <int kSide>
Status launch_products(const Products& task, cudaStream_t stream) {
  const dim3 grid(blocks_for(task.b_rows, kSide * kWarps), blocks_for(task.a_rows, kSide));
  products_kernel<kSide><<<grid, kThreads, 0, stream>>>(task);
  FOVEA_LAUNCH_CHECK("row products");
  return {};
}

// ---- Rows far from each other ------------------------------------------------------------------

/// The larger one; the second where one is not a number, as std::max has it.
__device__ __forceinline__ float larger(float a, float b) {
  return a < b ? b : a;
}

/// A warp has one row of a tile of products: its largest, itself left out.
__global__ void __launch_bounds__(kThreads)
    nearest_other_kernel(const float* tile, int first, int rows, int n, float* nearest) {
  const int i = blockIdx.x * kWarps + threadIdx.x / 32;
  if (i >= rows) return;
  float most = -INFINITY;
  for (int j = threadIdx.x % 32; j < n; j += 32) {
    if (j != first + i) most = larger(most, tile[std::int64_t{i} * n + j]);
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    most = larger(most, __shfl_xor_sync(0xFFFFFFFFu, most, step));
  }
  if (threadIdx.x % 32 == 0) nearest[first + i] = most;
}

constexpr int kPickThreads = 1024;

/// One block: the row of the smallest number, the lowest among equals, is marked as chosen.
__global__ void __launch_bounds__(kPickThreads)
    pick_kernel(const float* nearest, int n, float* chosen, std::int32_t* pick) {
  __shared__ float values[kPickThreads / 32];
  __shared__ int places[kPickThreads / 32];
  float least = INFINITY;
  int place = n;
  for (int i = threadIdx.x; i < n; i += kPickThreads) {
    if (nearest[i] < least) {
      least = nearest[i];
      place = i;
    }
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFu, least, step);
    const int where = __shfl_xor_sync(0xFFFFFFFFu, place, step);
    if (other < least || (other == least && where < place)) {
      least = other;
      place = where;
    }
  }
  if (threadIdx.x % 32 == 0) {
    values[threadIdx.x / 32] = least;
    places[threadIdx.x / 32] = place;
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int w = 1; w < kPickThreads / 32; ++w) {
    if (values[w] < least || (values[w] == least && places[w] < place)) {
      least = values[w];
      place = places[w];
    }
  }
  if (place == n) place = 0;  // no number at all
  *pick = place;
  chosen[place] = 1.0f;
}

/// Where blocks leave the best of their rows, and how many have.
struct Candidates {
  float* values;
  std::int32_t* places;
  int* done;
};

/// The better of two candidates: the smaller number, then the lower row.
__device__ __forceinline__ void take_better(float other, int where, float& least, int& place) {
  if (other < least || (other == least && where < place)) {
    least = other;
    place = where;
  }
}

/// A warp has one row: its cosine with the row picked last, rounded as products_kernel rounds it.
/// The block that is done last picks the next row.
__global__ void __launch_bounds__(kThreads)
    compare_kernel(const float* unit, std::int64_t stride, int n, int width, std::int32_t* pick,
                   float* nearest, float* chosen, const Candidates candidates) {
  __shared__ float values[kWarps];
  __shared__ int places[kWarps];
  __shared__ bool last;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row = blockIdx.x * kWarps + warp, picked = *pick;
  float sum = 0.0f;
  if (row < n) {
    const float* const a = unit + picked * stride;
    const float* const b = unit + row * stride;
    // Added one after another, but many loads are on their way together.
    constexpr int kAhead = 16;
    int k = lane;
    for (; k + 32 * (kAhead - 1) < width; k += 32 * kAhead) {
      float left[kAhead], right[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        left[i] = a[k + 32 * i];
        right[i] = b[k + 32 * i];
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) sum = fmaf(left[i], right[i], sum);
    }
    for (; k < width; k += 32) sum = fmaf(a[k], b[k], sum);
  }
  sum = sum_of_warp(sum);
  if (lane == 0) {
    values[warp] = INFINITY;
    places[warp] = n;
    if (row < n) {
      const float largest = row == picked ? INFINITY : larger(nearest[row], sum);
      nearest[row] = largest;
      if (largest < INFINITY) {
        values[warp] = largest;
        places[warp] = row;
      }
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    float least = values[0];
    int place = places[0];
    for (int w = 1; w < kWarps; ++w) take_better(values[w], places[w], least, place);
    candidates.values[blockIdx.x] = least;
    candidates.places[blockIdx.x] = place;
    __threadfence();
    last = atomicAdd(candidates.done, 1) == static_cast<int>(gridDim.x) - 1;
  }
  __syncthreads();
  if (!last || warp > 0) return;
  __threadfence();
  float least = INFINITY;
  int place = n;
  for (int i = lane; i < static_cast<int>(gridDim.x); i += 32) {
    const float other = static_cast<const volatile float*>(candidates.values)[i];
    take_better(other, static_cast<const volatile std::int32_t*>(candidates.places)[i], least, place);
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFu, least, step);
    const int where = __shfl_xor_sync(0xFFFFFFFFu, place, step);
    take_better(other, where, least, place);
  }
  if (lane > 0) return;
  *candidates.done = 0;
  if (place == n) place = 0;  // no number at all
  *pick = place;
  chosen[place] = 1.0f;
}

__global__ void __launch_bounds__(kThreads) fill_kernel(float* values, float value, int count) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) values[i] = value;
}

/// A thread has one channel of one row.
template <class T>
__global__ void __launch_bounds__(kThreads)
    head_means_kernel(const T* x, std::int64_t x_stride, int rows, int heads, int channels,
                      float* mean, std::int64_t mean_stride) {
  const int item = blockIdx.x * kThreads + threadIdx.x;
  if (item >= rows * channels) return;
  const int row = item / channels, channel = item % channels;
  const T* const from = x + row * x_stride + channel;
  float sum = 0.0f;
  for (int head = 0; head < heads; ++head) {
    sum += load_float(from[std::int64_t{head} * channels]);
  }
  mean[row * mean_stride + channel] = __fdiv_rn(sum, static_cast<float>(heads));
}

}  // namespace

Status normalize_rows_cuda(Context& context, ConstTensorView x, TensorView y) {
  if (x.shape.elements() == 0) return {};
  normalize_kernel<<<blocks_for(x.rows(), kWarps), kThreads, 0, stream_of(context)>>>(
      x.as<float>(), x.row_stride, y.as<float>(), y.row_stride, x.rows(), x.shape[1]);
  FOVEA_LAUNCH_CHECK("normalize rows");
  return {};
}

Status row_products_cuda(Context& context, ConstTensorView a, ConstTensorView b, TensorView out) {
  if (out.shape.elements() == 0) return {};
  const Products task{a.as<float>(),  b.as<float>(), out.as<float>(), a.row_stride, b.row_stride,
                      out.row_stride, a.rows(),      b.rows(),        a.shape[1]};
  constexpr std::int64_t kFewRows = 2;
  return a.rows() <= kFewRows ? launch_products<1>(task, stream_of(context))
                              : launch_products<4>(task, stream_of(context));
}

Status farthest_rows_cuda(Context& context, ConstTensorView unit, TensorView indices) {
  constexpr std::int64_t kTile = 64;  // rows compared with all others at a time
  const Workspace::Scope scope(context.workspace);
  const cudaStream_t stream = stream_of(context);
  const auto n = static_cast<int>(unit.rows()), width = static_cast<int>(unit.shape[1]);
  FOVEA_TRY(const TensorView nearest, context.workspace.take({n}, DType::f32));
  FOVEA_TRY(const TensorView chosen, context.workspace.take({n}, DType::f32));
  FOVEA_TRY(const TensorView pick, context.workspace.take({1}, DType::i32));
  fill_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream>>>(chosen.as<float>(), 0.0f, n);
  FOVEA_LAUNCH_CHECK("fill");
  {
    const Workspace::Scope tile_scope(context.workspace);
    FOVEA_TRY(const TensorView tile, context.workspace.take({kTile, n}, DType::f32));
    for (std::int64_t first = 0; first < n; first += kTile) {
      const std::int64_t count = std::min<std::int64_t>(kTile, n - first);
      FOVEA_CHECK(row_products_cuda(context, unit.slice(first, count), unit, tile.slice(0, count)));
      nearest_other_kernel<<<blocks_for(count, kWarps), kThreads, 0, stream>>>(
          tile.as<float>(), static_cast<int>(first), static_cast<int>(count), n,
          nearest.as<float>());
      FOVEA_LAUNCH_CHECK("nearest other row");
    }
  }
  pick_kernel<<<1, kPickThreads, 0, stream>>>(nearest.as<float>(), n, chosen.as<float>(),
                                              pick.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("pick of a row");
  fill_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream>>>(nearest.as<float>(), -INFINITY, n);
  FOVEA_LAUNCH_CHECK("fill");
  const unsigned grid = blocks_for(n, kWarps);
  FOVEA_TRY(const TensorView values, context.workspace.take({std::int64_t{grid}}, DType::f32));
  FOVEA_TRY(const TensorView places, context.workspace.take({std::int64_t{grid}}, DType::i32));
  FOVEA_TRY(const TensorView done, context.workspace.take({1}, DType::i32));
  FOVEA_CUDA_CHECK(cudaMemsetAsync(done.data, 0, sizeof(int), stream));
  const Candidates candidates{values.as<float>(), places.as<std::int32_t>(), done.as<int>()};
  for (std::int64_t count = 1; count < indices.rows(); ++count) {
    compare_kernel<<<grid, kThreads, 0, stream>>>(unit.as<float>(), unit.row_stride, n, width,
                                                  pick.as<std::int32_t>(), nearest.as<float>(),
                                                  chosen.as<float>(), candidates);
    FOVEA_LAUNCH_CHECK("comparison with a row");
  }
  return top_k_indices_cuda(context, chosen, indices);
}

Status head_means_cuda(Context& context, ConstTensorView x, TensorView mean) {
  const std::int64_t items = mean.shape.elements();
  return with_float_type(x.dtype, [&](auto type) -> Status {
    using T = typename decltype(type)::type;
    head_means_kernel<<<blocks_for(items, kThreads), kThreads, 0, stream_of(context)>>>(
        reinterpret_cast<const T*>(x.data), x.row_stride, static_cast<int>(x.rows()),
        static_cast<int>(x.shape[1]), static_cast<int>(x.shape[2]), mean.as<float>(),
        mean.row_stride);
    FOVEA_LAUNCH_CHECK("means of heads");
    return {};
  });
}

}  // namespace fovea
