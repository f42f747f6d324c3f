// Probabilities of chosen rows and columns on the GPU, recomputed in float32. A block has 64 columns
// of one head, whose keys it reads once, and all rows where they are reduced; only what one head
// leaves goes to memory, to be reduced over heads by a second kernel. Every sum has a fixed order.

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/attention/attention_checks.h"
#include "kernels/ops/attention/attention_cuda.h"
#include "kernels/ops/attention/attention_launch.cuh"

namespace fovea {
namespace {

constexpr int kColumns = 64, kRows = 32, kThreads = 256;
constexpr int kColumnsEach = 4, kRowsEach = 2;  // of the 16 x 16 threads

/// Indices in device memory, or first, first + step, ... where there is no such list.
struct IndexList {
  const std::int32_t* data;
  std::int32_t first, step;
};

struct ScoreLaunch {
  const std::byte* query;
  DType query_type;
  std::int64_t query_stride;
  const float* lse;
  std::int64_t lse_stride;
  const float* weights;  // null for 1
  std::int64_t weights_stride;  // between heads; 0 when all are alike
  IndexList visible, columns;
  CudaSequence keys;
  float scale;  // times log2(e)
  std::int32_t rows, column_count, heads, kv_heads, head_dim;
  bool whole;  // eight channels can be read at a time
  float* out;
  std::int64_t out_head_stride, out_row_stride;
};

__device__ __forceinline__ std::int32_t index_at(const IndexList& list, std::int32_t i) {
  return list.data != nullptr ? list.data[i] : list.first + i * list.step;
}

__host__ __device__ constexpr int padded_channels(int channels) {
  return (channels + 3) / 4 * 4 + 4;
}

std::size_t shared_bytes(int channels) {
  return sizeof(float) * static_cast<std::size_t>(padded_channels(channels)) * (kRows + kColumns);
}

__device__ __forceinline__ float dot4(float4 a, float4 b, float sum) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

template <Reduction kReduceRows>
__device__ __forceinline__ float combine(float a, float b) {
  return kReduceRows == Reduction::max ? fmaxf(a, b) : a + b;
}

/// First channel of a column's key.
template <class T>
__device__ __forceinline__ const T* column_key(const ScoreLaunch& launch, int kv_head, int place) {
  return token_channels<T>(launch.keys, launch.keys.key_pages, kv_head * launch.keys.key_head_stride,
                           launch.keys.key_token_stride, index_at(launch.columns, place));
}

__device__ __forceinline__ void store8(const float (&from)[8], float* to) {
  *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
  *reinterpret_cast<float4*>(to + 4) = make_float4(from[4], from[5], from[6], from[7]);
}

/// Pieces of eight channels from `from_piece(i)` to `to_piece(i)`, for i below `count`: a thread's loads
/// are all under way before it stores the first.
template <class T, class From, class To>
__device__ __forceinline__ void copy_pieces(int count, From&& from_piece, To&& to_piece) {
  constexpr int kAtOnce = 4;
  for (int first = static_cast<int>(threadIdx.x); first < count; first += kAtOnce * kThreads) {
    float values[kAtOnce][8];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int i = first + k * kThreads;
      if (i < count) load8(static_cast<const T*>(from_piece(i)), values[k]);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int i = first + k * kThreads;
      if (i < count) store8(values[k], to_piece(i));
    }
  }
}

/// What lies beyond the last column is not used: the last one stands in for it.
template <class T>
__device__ void load_keys(const ScoreLaunch& launch, int kv_head, int first, float* to) {
  const int channels = launch.head_dim, stride = padded_channels(channels);
  const int last = launch.column_count - 1;
  if (launch.whole) {
    const int pieces = channels / 8;
    copy_pieces<T>(
        kColumns * pieces,
        [&](int i) { return column_key<T>(launch, kv_head, min(first + i / pieces, last)) + 8 * (i % pieces); },
        [&](int i) { return to + i / pieces * stride + 8 * (i % pieces); });
    return;
  }
  for (int j = threadIdx.x / 32; j < kColumns; j += kThreads / 32) {
    const T* const from = column_key<T>(launch, kv_head, min(first + j, last));
    for (int c = threadIdx.x % 32; c < stride; c += 32) {
      to[j * stride + c] = c < channels ? load_float(from[c]) : 0.0f;
    }
  }
}

template <class T>
__device__ __forceinline__ void load_whole_rows(const ScoreLaunch& launch, std::int64_t start, int count, float* to) {
  const int pieces = launch.head_dim / 8, stride = padded_channels(launch.head_dim);
  const T* const query = reinterpret_cast<const T*>(launch.query) + start;
  copy_pieces<T>(
      count * pieces, [&](int i) { return query + i / pieces * launch.query_stride + 8 * (i % pieces); },
      [&](int i) { return to + i / pieces * stride + 8 * (i % pieces); });
}

__device__ void load_rows(const ScoreLaunch& launch, int head, int first, float* to) {
  const int channels = launch.head_dim, stride = padded_channels(channels);
  const int count = min(kRows, launch.rows - first);
  const std::int64_t start = first * launch.query_stride + std::int64_t{head} * channels;
  if (launch.whole) {
    switch (launch.query_type) {
      case DType::bf16: return load_whole_rows<__nv_bfloat16>(launch, start, count, to);
      case DType::f16: return load_whole_rows<__half>(launch, start, count, to);
      default: return load_whole_rows<float>(launch, start, count, to);
    }
  }
  for (int r = threadIdx.x / 32; r < count; r += kThreads / 32) {
    const std::int64_t from = start + r * launch.query_stride;
    for (int c = threadIdx.x % 32; c < stride; c += 32) {
      to[r * stride + c] = c < channels ? load_any(launch.query, launch.query_type, from + c) : 0.0f;
    }
  }
}

template <class T, Reduction kReduceRows>
__global__ void __launch_bounds__(kThreads) score_kernel(const __grid_constant__ ScoreLaunch launch) {
  const int head = blockIdx.y, kv_head = head / (launch.heads / launch.kv_heads);
  const int first_column = blockIdx.x * kColumns;
  const int channels = launch.head_dim, stride = padded_channels(channels);
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  extern __shared__ float4 shared4[];
  float* const keys = reinterpret_cast<float*>(shared4);
  float* const query = keys + kColumns * stride;
  let_next_prepare();
  wait_for_previous();
  load_keys<T>(launch, kv_head, first_column, keys);

  std::int32_t column[kColumnsEach];
  float bias[kColumnsEach], reduced[kColumnsEach];
#pragma unroll
  for (int j = 0; j < kColumnsEach; ++j) {
    const int place = first_column + tx + 16 * j;
    const bool there = place < launch.column_count;
    column[j] = there ? index_at(launch.columns, place) : std::numeric_limits<std::int32_t>::max();
    bias[j] = there && launch.keys.key_bias != nullptr ? launch.keys.key_bias[column[j]] * kLog2EFloat : 0.0f;
    reduced[j] = kReduceRows == Reduction::max ? -INFINITY : 0.0f;
  }

  const int step = kReduceRows == Reduction::none ? gridDim.z * kRows : kRows;
  for (int first_row = blockIdx.z * kRows; first_row < launch.rows; first_row += step) {
    __syncthreads();
    load_rows(launch, head, first_row, query);
    __syncthreads();
    const int row = first_row + ty * kRowsEach;
    if (row >= launch.rows) continue;
    float lse[kRowsEach], weight[kRowsEach];  // on their way while the products are made
    std::int32_t seen[kRowsEach];
#pragma unroll
    for (int i = 0; i < kRowsEach; ++i) {
      const int place = min(row + i, launch.rows - 1);
      lse[i] = launch.lse[head * launch.lse_stride + place];
      weight[i] =
          launch.weights == nullptr ? 1.0f : launch.weights[head * launch.weights_stride + place];
      seen[i] = index_at(launch.visible, place);
    }

    float dot[kRowsEach][kColumnsEach] = {};
    for (int c = 0; c < channels; c += 4) {
      float4 key[kColumnsEach];
#pragma unroll
      for (int j = 0; j < kColumnsEach; ++j) {
        key[j] = *reinterpret_cast<const float4*>(keys + (tx + 16 * j) * stride + c);
      }
#pragma unroll
      for (int i = 0; i < kRowsEach; ++i) {
        const float4 q = *reinterpret_cast<const float4*>(query + (ty * kRowsEach + i) * stride + c);
#pragma unroll
        for (int j = 0; j < kColumnsEach; ++j) dot[i][j] = dot4(q, key[j], dot[i][j]);
      }
    }
#pragma unroll
    for (int i = 0; i < kRowsEach; ++i) {
      if (row + i >= launch.rows) break;
      if (lse[i] == -INFINITY || weight[i] == 0.0f) seen[i] = 0;
#pragma unroll
      for (int j = 0; j < kColumnsEach; ++j) {
        const float exponent = fmaf(dot[i][j], launch.scale, bias[j] - lse[i] * kLog2EFloat);
        // 2^127 at most: what rounding leaves of an impossible logit stays finite.
        const float p = column[j] < seen[i] ? exp2f(fminf(exponent, 127.0f)) * weight[i] : 0.0f;
        if (kReduceRows != Reduction::none) {
          reduced[j] = combine<kReduceRows>(reduced[j], p);
        } else if (first_column + tx + 16 * j < launch.column_count) {
          launch.out[head * launch.out_head_stride + (row + i) * launch.out_row_stride + first_column + tx +
                     16 * j] = p;
        }
      }
    }
  }
  if constexpr (kReduceRows != Reduction::none) {
    __syncthreads();
    float* const partial = query;  // [16, kColumns]; rows of channels are no longer needed
#pragma unroll
    for (int j = 0; j < kColumnsEach; ++j) partial[ty * kColumns + tx + 16 * j] = reduced[j];
    __syncthreads();
    const int j = threadIdx.x;
    if (j < kColumns && first_column + j < launch.column_count) {
      float value = partial[j];
      for (int y = 1; y < 16; ++y) value = combine<kReduceRows>(value, partial[y * kColumns + j]);
      if (kReduceRows == Reduction::mean) value *= 1.0f / static_cast<float>(launch.rows);
      launch.out[head * launch.out_head_stride + first_column + j] = value;
    }
  }
}

struct AxisReduction {
  const float* from;  // [count, width * rows of out]
  std::int64_t count, elements;
  float* to;
  std::int64_t width, to_stride;
  bool larger;    // the maximum, else the sum
  bool go_on;     // `to` holds what came before
  float factor;   // multiplies the result
};

/// Reduces the first axis.
__global__ void __launch_bounds__(kThreads) reduce_axis_kernel(const AxisReduction task) {
  let_next_prepare();
  wait_for_previous();
  const std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (i >= task.elements) return;
  float* const to = task.to + i / task.width * task.to_stride + i % task.width;
  float value = task.go_on ? *to : task.from[i];
#pragma unroll 8
  for (std::int64_t k = task.go_on ? 0 : 1; k < task.count; ++k) {
    const float other = task.from[k * task.elements + i];
    value = task.larger ? fmaxf(value, other) : value + other;
  }
  *to = value * task.factor;
}

// ---- Host ----------------------------------------------------------------------------------------

template <class T, Reduction kReduceRows>
Status launch_kernel(const ScoreLaunch& launch, cudaStream_t stream) {
  const std::size_t bytes =
      std::max(shared_bytes(launch.head_dim),
               sizeof(float) * kColumns * (static_cast<std::size_t>(padded_channels(launch.head_dim)) + 16));
  FOVEA_CUDA_CHECK(cudaFuncSetAttribute(score_kernel<T, kReduceRows>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(bytes)));
  const auto row_tiles = static_cast<unsigned>((launch.rows + kRows - 1) / kRows);
  const dim3 grid(static_cast<unsigned>((launch.column_count + kColumns - 1) / kColumns),
                  static_cast<unsigned>(launch.heads), kReduceRows == Reduction::none ? std::min(row_tiles, 65535u) : 1);
  return launch_early(stream, "attention scores", score_kernel<T, kReduceRows>, grid, kThreads, bytes, launch);
}

Status launch_scores(const ScoreLaunch& launch, DType kv_type, Reduction rows, cudaStream_t stream) {
  return with_float_type(kv_type, [&](auto type) -> Status {
    using T = typename decltype(type)::type;
    switch (rows) {
      case Reduction::none: return launch_kernel<T, Reduction::none>(launch, stream);
      case Reduction::sum: return launch_kernel<T, Reduction::sum>(launch, stream);
      case Reduction::mean: return launch_kernel<T, Reduction::mean>(launch, stream);
      default: return launch_kernel<T, Reduction::max>(launch, stream);
    }
  });
}

Status launch_reduction(const AxisReduction& task, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((task.elements + kThreads - 1) / kThreads);
  return launch_early(stream, "reduction over heads", reduce_axis_kernel, blocks, kThreads, 0, task);
}

float factor_of(Reduction how, std::int64_t over) {
  return how == Reduction::mean ? 1.0f / static_cast<float>(over) : 1.0f;
}

/// Most lists are ranges, which need no copy on the device.
Result<IndexList> index_list(Context& context, std::span<const std::int32_t> values, IndexList none) {
  if (values.empty()) return none;
  const std::int32_t step = values.size() > 1 ? values[1] - values[0] : 0;
  bool even = true;
  for (std::size_t i = 1; i < values.size(); ++i) even = even && values[i] - values[i - 1] == step;
  if (even) return IndexList{nullptr, values[0], step};
  FOVEA_TRY(const std::int32_t* data, upload(context, values));
  return IndexList{data, 0, 0};
}

ScoreLaunch rows_of(ScoreLaunch launch, std::int64_t first, std::int64_t count) {
  launch.query += static_cast<std::size_t>(first * launch.query_stride) * dtype_size(launch.query_type);
  launch.lse += first;
  if (launch.weights != nullptr) launch.weights += first;
  if (launch.visible.data != nullptr) {
    launch.visible.data += first;
  } else {
    launch.visible.first += static_cast<std::int32_t>(first) * launch.visible.step;
  }
  launch.rows = static_cast<std::int32_t>(count);
  return launch;
}

Result<ScoreLaunch> describe(Context& context, const ScoreArgs& args) {
  ScoreLaunch launch{};
  launch.query = args.query.data;
  launch.query_type = args.query.dtype;
  launch.query_stride = args.query.row_stride;
  launch.lse = args.lse.as<float>();
  launch.lse_stride = args.lse.row_stride;
  if (!args.row_weights.empty()) {
    launch.weights = args.row_weights.as<float>();
    launch.weights_stride = args.row_weights.shape.rank() == 1 ? 0 : args.row_weights.row_stride;
  }
  FOVEA_TRY(launch.visible,
            index_list(context, args.visible, {nullptr, std::numeric_limits<std::int32_t>::max(), 0}));
  FOVEA_TRY(launch.columns, index_list(context, args.columns, {}));
  launch.keys.key_pages = args.kv.key_pages;
  launch.keys.key_bias = args.key_bias;
  launch.keys.key_head_stride = args.kv.key_head_stride;
  launch.keys.key_token_stride = args.kv.key_token_stride;
  launch.keys.page_tokens = args.kv.page_tokens;
  launch.keys.page_shift = page_shift(args.kv);
  launch.scale = args.scale * kLog2EFloat;
  launch.rows = static_cast<std::int32_t>(args.query.shape[0]);
  launch.column_count = static_cast<std::int32_t>(args.columns.size());
  launch.heads = static_cast<std::int32_t>(args.query.shape[1]);
  launch.kv_heads = args.kv.kv_heads;
  launch.head_dim = static_cast<std::int32_t>(args.query.shape[2]);
  const auto multiple_of_eight = [](std::int64_t value) { return value % 8 == 0; };
  launch.whole = multiple_of_eight(launch.head_dim) && multiple_of_eight(args.kv.key_head_stride) &&
                 multiple_of_eight(args.kv.key_token_stride) && multiple_of_eight(args.query.row_stride) &&
                 reinterpret_cast<std::uintptr_t>(args.query.data) % 16 == 0;
  return launch;
}

/// One head's row reduction straight into out, or into scratch when heads are reduced after it.
Status reduce_rows_first(Context& context, const ScoreArgs& args, ScoreLaunch launch) {
  const cudaStream_t stream = stream_of(context);
  if (args.heads == Reduction::none) {
    launch.out = args.out.as<float>();
    launch.out_head_stride = args.out.row_stride;
    launch.out_row_stride = launch.column_count;
    return launch_scores(launch, args.kv.dtype, args.rows, stream);
  }
  FOVEA_TRY(const TensorView of_heads,
            context.workspace.take({launch.heads, launch.column_count}, DType::f32));
  launch.out = of_heads.as<float>();
  launch.out_head_stride = launch.column_count;
  FOVEA_CHECK(launch_scores(launch, args.kv.dtype, args.rows, stream));
  AxisReduction task{};
  task.from = of_heads.as<float>();
  task.count = launch.heads;
  task.elements = task.width = launch.column_count;
  task.to = args.out.as<float>();
  task.factor = factor_of(args.heads, launch.heads);
  return launch_reduction(task, stream);
}

/// Cells of all heads, a stretch of rows at a time; then over heads, then over rows.
Status reduce_heads_first(Context& context, const ScoreArgs& args, const ScoreLaunch& whole) {
  constexpr std::int64_t kCellsAtATime = std::int64_t{8} << 20;  // 32 MiB: they stay in the cache
  const cudaStream_t stream = stream_of(context);
  const std::int64_t columns = whole.column_count, heads = whole.heads;
  const std::int64_t stretch = std::clamp<std::int64_t>(kCellsAtATime / (heads * columns), 1, whole.rows);
  FOVEA_TRY(const TensorView cells, context.workspace.take({heads, stretch, columns}, DType::f32));
  FOVEA_TRY(const TensorView merged, context.workspace.take({stretch, columns}, DType::f32));
  for (std::int64_t first = 0; first < whole.rows; first += stretch) {
    const std::int64_t count = std::min(stretch, whole.rows - first);
    ScoreLaunch launch = rows_of(whole, first, count);
    launch.out = cells.as<float>();
    launch.out_head_stride = count * columns;
    launch.out_row_stride = columns;
    FOVEA_CHECK(launch_scores(launch, args.kv.dtype, Reduction::none, stream));
    AxisReduction over_heads{};
    over_heads.from = cells.as<float>();
    over_heads.count = heads;
    over_heads.elements = count * columns;
    over_heads.width = columns;
    over_heads.larger = args.heads == Reduction::max;
    over_heads.factor = factor_of(args.heads, heads);
    const bool keep_rows = args.rows == Reduction::none;
    over_heads.to = keep_rows ? args.out.row<float>(first) : merged.as<float>();
    over_heads.to_stride = keep_rows ? args.out.row_stride : columns;
    FOVEA_CHECK(launch_reduction(over_heads, stream));
    if (keep_rows) continue;
    AxisReduction over_rows{};
    over_rows.from = merged.as<float>();
    over_rows.count = count;
    over_rows.elements = over_rows.width = columns;
    over_rows.to = args.out.as<float>();
    over_rows.larger = args.rows == Reduction::max;
    over_rows.go_on = first > 0;
    over_rows.factor = first + count == whole.rows ? factor_of(args.rows, whole.rows) : 1.0f;
    FOVEA_CHECK(launch_reduction(over_rows, stream));
  }
  return {};
}

Status write_zeros(const TensorView& out, cudaStream_t stream) {
  const std::size_t width = static_cast<std::size_t>(out.inner_elements()) * sizeof(float);
  FOVEA_CUDA_CHECK(cudaMemset2DAsync(out.data, static_cast<std::size_t>(out.row_stride) * sizeof(float), 0, width,
                                     static_cast<std::size_t>(out.rows()), stream));
  return {};
}

}  // namespace

Status attention_scores_cuda(Context& context, const ScoreArgs& args) {
  if (args.out.shape.elements() == 0) return {};
  if (args.query.shape[0] == 0) return write_zeros(args.out, stream_of(context));  // sums over no rows
  if (args.query.shape[2] > kMostExactChannels) return too_many_channels(args.query.shape[2]);
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const ScoreLaunch launch, describe(context, args));
  const bool heads_first =
      args.heads == Reduction::max || (args.heads != Reduction::none && args.rows == Reduction::none);
  return heads_first ? reduce_heads_first(context, args, launch) : reduce_rows_first(context, args, launch);
}

}  // namespace fovea
