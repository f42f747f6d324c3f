#include "kernels/ops/groups/groups_cuda.h"

#include <algorithm>

#include "kernels/cuda/block.cuh"
#include "kernels/cuda/runtime.h"

namespace fovea {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kLayoutThreads = 512;

// ---- Density peaks -----------------------------------------------------------------------------

/// A block has one row, its warps the rows before it. Distances are written both ways, so that they
/// are symmetric to the bit.
__global__ void __launch_bounds__(kThreads)
    distances_kernel(const float* x, std::int64_t stride, int n, int width, double* distance) {
  const int i = blockIdx.x, lane = threadIdx.x % 32;
  const float* const a = x + std::int64_t{i} * stride;
  for (int j = threadIdx.x / 32; j <= i; j += kWarps) {
    const float* const b = x + std::int64_t{j} * stride;
    double squares = 0.0;
    for (int c = lane; c < width; c += 32) {
      const double difference = static_cast<double>(a[c]) - b[c];
      squares += difference * difference;
    }
    squares = sum_of_warp(squares);
    if (lane > 0) continue;
    const double apart = sqrt(squares / width);
    distance[std::int64_t{i} * n + j] = apart;
    distance[std::int64_t{j} * n + i] = apart;
  }
}

/// A block has one row: the squares of those distances that fewer than `groups` others undercut.
/// `near` takes the squares of a row by rank, so that they add up in one order.
__global__ void __launch_bounds__(kThreads)
    densities_kernel(const double* distance, int n, int groups, double* near, double* density,
                     double* reach) {
  __shared__ double parts[kWarps];
  __shared__ double tile[kThreads];
  const double* const row = distance + std::int64_t{blockIdx.x} * n;
  double* const sorted = near + std::int64_t{blockIdx.x} * groups;
  double far = 0.0;
  for (int first = 0; first < n; first += kThreads) {
    const int j = first + threadIdx.x;
    const double own = j < n ? row[j] : 0.0;
    far = own > far ? own : far;
    int rank = 0;
    for (int from = 0; from < n; from += kThreads) {
      if (from + static_cast<int>(threadIdx.x) < n) tile[threadIdx.x] = row[from + threadIdx.x];
      __syncthreads();
      const int here = n - from < kThreads ? n - from : kThreads;
      for (int k = 0; k < here; ++k) {
        rank += tile[k] < own || (tile[k] == own && from + k < j) ? 1 : 0;
      }
      __syncthreads();
    }
    if (j < n && rank < groups) sorted[rank] = own * own;
  }
  __syncthreads();
  double squares = 0.0;
  for (int k = threadIdx.x; k < groups; k += kThreads) squares += sorted[k];
  squares = sum_of_block<kWarps>(squares, parts);
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(0xFFFFFFFFu, far, step);
    far = other > far ? other : far;
  }
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = far;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int w = 1; w < kWarps; ++w) far = parts[w] > far ? parts[w] : far;
  density[blockIdx.x] = exp(-squares / groups);
  reach[blockIdx.x] = far;
}

/// A block has one row: density times the distance to the nearest denser row.
__global__ void __launch_bounds__(kThreads)
    peaks_kernel(const double* distance, const double* density, const double* reach, int n,
                 double* peak) {
  __shared__ double nearest[kWarps];
  __shared__ double farthest[kWarps];
  const int i = blockIdx.x;
  const double own = density[i];
  double near = INFINITY, far = 0.0;
  for (int j = threadIdx.x; j < n; j += kThreads) {
    const bool denser = density[j] > own || (density[j] == own && j < i);
    const double apart = distance[std::int64_t{i} * n + j];
    if (denser && apart < near) near = apart;
    far = reach[j] > far ? reach[j] : far;
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const double other_near = __shfl_xor_sync(0xFFFFFFFFu, near, step);
    const double other_far = __shfl_xor_sync(0xFFFFFFFFu, far, step);
    near = other_near < near ? other_near : near;
    far = other_far > far ? other_far : far;
  }
  if (threadIdx.x % 32 == 0) {
    nearest[threadIdx.x / 32] = near;
    farthest[threadIdx.x / 32] = far;
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int w = 1; w < kWarps; ++w) {
    near = nearest[w] < near ? nearest[w] : near;
    far = farthest[w] > far ? farthest[w] : far;
  }
  peak[i] = (near < far ? near : far) * own;
}

/// A thread has one row: its rank among the peaks makes it a centre or not. group[i]: that of
/// centre i, else -1.
__global__ void __launch_bounds__(kThreads)
    centres_kernel(const double* peak, int n, int groups, std::int32_t* centres,
                   std::int32_t* group) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= n) return;
  const double own = peak[i];
  int rank = 0;
  for (int j = 0; j < n; ++j) rank += peak[j] > own || (peak[j] == own && j < i) ? 1 : 0;
  group[i] = rank < groups ? rank : -1;
  if (rank < groups) centres[rank] = i;
}

/// A thread has one row that is no centre; `joined` keeps the centres' own groups apart.
__global__ void __launch_bounds__(kThreads)
    nearest_centre_kernel(const double* distance, const std::int32_t* centres,
                          const std::int32_t* group, int n, int groups, std::int32_t* joined) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= n) return;
  int best = 0;
  for (int g = 1; g < groups; ++g) {
    const double apart = distance[std::int64_t{i} * n + centres[g]];
    const double least = distance[std::int64_t{i} * n + centres[best]];
    if (apart < least || (apart == least && centres[g] < centres[best])) best = g;
  }
  joined[i] = group[i] >= 0 ? -1 : best;
}

// ---- Layout ------------------------------------------------------------------------------------

/// One block. Group g begins with first[g] (or with g itself), then come the things i with
/// joined[i]
/// == g, ascending, under the name i + shift.
__global__ void __launch_bounds__(kLayoutThreads)
    layout_kernel(const std::int32_t* first, const std::int32_t* joined, int n, int groups,
                  int shift, std::int32_t* offsets, std::int32_t* members) {
  for (int g = threadIdx.x; g <= groups; g += kLayoutThreads) {
    int before = g;
    for (int i = 0; i < n; ++i) before += joined[i] >= 0 && joined[i] < g ? 1 : 0;
    offsets[g] = before;
    if (g < groups) members[before] = first != nullptr ? first[g] : g;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += kLayoutThreads) {
    const int own = joined[i];
    if (own < 0) continue;
    int before = 1;
    for (int j = 0; j < i; ++j) before += joined[j] == own ? 1 : 0;
    members[offsets[own] + before] = i + shift;
  }
}

/// A warp has one thing: the target of the largest likeness, the first among equals.
__global__ void __launch_bounds__(kThreads)
    most_alike_kernel(const float* likeness, std::int64_t stride, int others, int targets,
                      std::int32_t* joined) {
  const int i = blockIdx.x * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (i >= others) return;
  const float* const row = likeness + i * stride;
  float most = -INFINITY;
  int best = targets;  // none yet
  for (int t = lane; t < targets; t += 32) {
    if (!isnan(row[t]) && (row[t] > most || best == targets)) {
      most = row[t];
      best = t;
    }
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFu, most, step);
    const int place = __shfl_xor_sync(0xFFFFFFFFu, best, step);
    const bool better =
        place < targets && (best == targets || other > most || (other == most && place < best));
    most = better ? other : most;
    best = better ? place : best;
  }
  if (lane == 0) joined[i] = best == targets ? 0 : best;
}

// ---- Lists -------------------------------------------------------------------------------------

/// How many of ascending numbers lie below one.
__device__ __forceinline__ int below(const std::int32_t* numbers, int count, int limit) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (numbers[middle] < limit) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

__global__ void __launch_bounds__(kThreads)
    without_kernel(const std::int32_t* all, int count, const std::int32_t* some, int less,
                   std::int32_t* rest) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= count) return;
  const int taken = below(some, less, all[i]);
  if (taken < less && some[taken] == all[i]) return;
  rest[i - taken] = all[i];
}

struct Lists {
  const std::int32_t* singles;
  const std::int32_t* names;
  const std::int32_t* offsets;
  const std::int32_t* members;
  int single, groups, count;
  bool mean;
  std::int32_t* new_sources;
  std::int32_t* new_offsets;
  float* new_weights;
};

__global__ void __launch_bounds__(kThreads) lists_kernel(const Lists lists) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < lists.single) {
    lists.new_sources[i] = lists.singles[i];
    lists.new_offsets[i] = i;
    lists.new_weights[i] = 1.0f;
    return;
  }
  const int item = i - lists.single;
  if (item <= lists.groups) {
    lists.new_offsets[lists.single + item] = lists.single + lists.offsets[item];
  }
  if (item >= lists.count) return;
  // The group of a member is the last that begins at it or before.
  const int group = below(lists.offsets, lists.groups, item + 1) - 1;
  const int begin = lists.offsets[group], size = lists.offsets[group + 1] - begin;
  const int apart = lists.mean ? size : size > 1 ? size - 1 : 1;
  lists.new_sources[i] = lists.names[lists.members[item]];
  lists.new_weights[i] =
      !lists.mean && item == begin ? 1.0f : __fdiv_rn(1.0f, static_cast<float>(apart));
}

}  // namespace

Status density_peak_groups_cuda(Context& context, ConstTensorView x, const Groups& out) {
  const Workspace::Scope scope(context.workspace);
  const auto n = static_cast<int>(x.rows()), groups = static_cast<int>(out.offsets.rows() - 1);
  const cudaStream_t stream = stream_of(context);
  const auto doubles = [&](std::int64_t count) -> Result<double*> {
    // The workspace knows no double: numbers of eight bytes.
    FOVEA_TRY(const TensorView block, context.workspace.take({count}, DType::i64));
    return block.as<double>();
  };
  FOVEA_TRY(double* const distance, doubles(std::int64_t{n} * n));
  FOVEA_TRY(double* const near, doubles(std::int64_t{n} * groups));
  FOVEA_TRY(double* const density, doubles(n));
  FOVEA_TRY(double* const reach, doubles(n));
  FOVEA_TRY(double* const peak, doubles(n));
  FOVEA_TRY(const TensorView numbers, context.workspace.take({2 * n + groups}, DType::i32));
  auto* const group = numbers.as<std::int32_t>();
  std::int32_t* const joined = group + n;
  std::int32_t* const centres = joined + n;
  const auto rows = static_cast<unsigned>(n);
  distances_kernel<<<rows, kThreads, 0, stream>>>(x.as<float>(), x.row_stride, n,
                                                  static_cast<int>(x.shape[1]), distance);
  FOVEA_LAUNCH_CHECK("distances of rows");
  densities_kernel<<<rows, kThreads, 0, stream>>>(distance, n, groups, near, density, reach);
  FOVEA_LAUNCH_CHECK("densities of rows");
  peaks_kernel<<<rows, kThreads, 0, stream>>>(distance, density, reach, n, peak);
  FOVEA_LAUNCH_CHECK("peaks of density");
  centres_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream>>>(peak, n, groups, centres, group);
  FOVEA_LAUNCH_CHECK("centres of groups");
  nearest_centre_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream>>>(distance, centres, group,
                                                                          n, groups, joined);
  FOVEA_LAUNCH_CHECK("nearest centres");
  layout_kernel<<<1, kLayoutThreads, 0, stream>>>(centres, joined, n, groups, 0,
                                                  out.offsets.as<std::int32_t>(),
                                                  out.members.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("layout of groups");
  return {};
}

Status join_most_alike_cuda(Context& context, ConstTensorView likeness, const Groups& out) {
  const Workspace::Scope scope(context.workspace);
  const auto others = static_cast<int>(likeness.rows());
  const auto targets = static_cast<int>(likeness.shape[1]);
  FOVEA_TRY(const TensorView joined, context.workspace.take({others}, DType::i32));
  if (others > 0) {
    most_alike_kernel<<<blocks_for(others, kWarps), kThreads, 0, stream_of(context)>>>(
        likeness.as<float>(), likeness.row_stride, others, targets, joined.as<std::int32_t>());
    FOVEA_LAUNCH_CHECK("most alike");
  }
  layout_kernel<<<1, kLayoutThreads, 0, stream_of(context)>>>(
      nullptr, joined.as<std::int32_t>(), others, targets, targets, out.offsets.as<std::int32_t>(),
      out.members.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("layout of groups");
  return {};
}

Status without_cuda(Context& context, ConstTensorView all, ConstTensorView some, TensorView rest) {
  const auto count = static_cast<int>(all.rows());
  without_kernel<<<blocks_for(count, kThreads), kThreads, 0, stream_of(context)>>>(
      all.as<std::int32_t>(), count, some.as<std::int32_t>(), static_cast<int>(some.rows()),
      rest.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("without");
  return {};
}

Status singles_and_groups_cuda(Context& context, ConstTensorView singles, ConstTensorView names,
                               const Groups& groups, GroupWeights weigh, TensorView sources,
                               TensorView offsets, TensorView weights) {
  Lists lists{singles.as<std::int32_t>(), names.as<std::int32_t>(),
              groups.offsets.as<std::int32_t>(), groups.members.as<std::int32_t>()};
  lists.single = static_cast<int>(singles.rows());
  lists.groups = static_cast<int>(groups.offsets.rows() - 1);
  lists.count = static_cast<int>(names.rows());
  lists.mean = weigh == GroupWeights::mean;
  lists.new_sources = sources.as<std::int32_t>();
  lists.new_offsets = offsets.as<std::int32_t>();
  lists.new_weights = weights.as<float>();
  const int items = lists.single + std::max(lists.groups + 1, lists.count);
  lists_kernel<<<blocks_for(items, kThreads), kThreads, 0, stream_of(context)>>>(lists);
  FOVEA_LAUNCH_CHECK("singles and groups");
  return {};
}

}  // namespace fovea
