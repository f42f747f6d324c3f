#include "kernels/ops/draw/draw_cuda.h"

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rank.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/ops/draw/draw.h"
#include "kernels/ops/draw/draw_mass.h"

namespace fovea {
namespace {

using Mass = unsigned long long;

constexpr int kThreads = 1024, kWarps = kThreads / 32;
constexpr int kMassThreads = 256;
constexpr int kBits = 4, kBins = 1 << kBits;  // of a rank, looked at in one pass
constexpr unsigned kAll = 0xFFFFFFFFu;

/// A block a row: the largest logit and, where that is all a row asks for or nothing can be drawn from
/// it, the answer; else the index is left at 0.
__global__ void __launch_bounds__(kThreads)
    largest_kernel(const float* logits, std::int64_t stride, int n, const Draw* draws,
                   float* largest, std::int32_t* indices) {
  let_next_prepare();
  wait_for_previous();
  const float* const row = logits + blockIdx.x * stride;
  const int found = place_of_largest<kThreads>(row, n);
  if (threadIdx.x != 0) return;
  const float value = row[found];
  largest[blockIdx.x] = value;
  const bool usable = !isnan(value) && !isinf(value);
  indices[blockIdx.x] = !usable ? -1 : draws[blockIdx.x].temperature == 0.0 ? found : 0;
}

__global__ void __launch_bounds__(kMassThreads)
    mass_kernel(const float* logits, std::int64_t stride, int n, const Draw* draws, const float* largest,
                const std::int32_t* indices, Mass* masses) {
  let_next_prepare();
  wait_for_previous();
  const double temperature = draws[blockIdx.y].temperature;
  if (temperature == 0.0 || indices[blockIdx.y] < 0) return;
  for (int i = blockIdx.x * kMassThreads + threadIdx.x; i < n; i += gridDim.x * kMassThreads) {
    masses[blockIdx.y * std::int64_t{n} + i] =
        drawn_mass(logits[blockIdx.y * stride + i], largest[blockIdx.y], temperature);
  }
}

struct Shared {
  Mass of_warps[kWarps][kBins];
  Mass bins[kBins];
  Mass equal_mass;
  int found;
};

/// The sum of what the threads before this one hold; `all`: of what all hold.
__device__ Mass sum_before(Mass value, Shared& shared, Mass& all) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Mass upto = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const Mass other = __shfl_up_sync(kAll, upto, step);
    if (lane >= step) upto += other;
  }
  __syncthreads();  // nobody reads what the call before left
  if (lane == 31) shared.of_warps[warp][0] = upto;
  __syncthreads();
  Mass before = upto - value;
  all = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) before += shared.of_warps[w][0];
    all += shared.of_warps[w][0];
  }
  return before;
}

/// Some tokens of a row, ascending.
struct Candidates {
  const float* logits;
  const Mass* masses;
  const std::int32_t* index;
  int count;
};

struct Place {
  int index;    // of the token
  Mass reached;  // by the masses up to and with it
};

/// The first token, likeliest first and lower indices first among equals, with which the masses
/// reach `target`.
__device__ Place find(const Candidates& from, Mass target, Shared& shared) {
  std::uint32_t prefix = 0, mask = 0;
  Mass above = 0;  // of all tokens that rank above the prefix
  for (int shift = 32 - kBits; shift >= 0; shift -= kBits) {
    Mass bins[kBins] = {};
    for (int i = threadIdx.x; i < from.count; i += kThreads) {
      const int token = from.index[i];
      const std::uint32_t rank = rank_of(from.logits[token]);
      if ((rank & mask) != prefix) continue;
      const unsigned bin = rank >> shift & (kBins - 1);
      const Mass mass = from.masses[token];
#pragma unroll
      for (int b = 0; b < kBins; ++b) bins[b] += bin == static_cast<unsigned>(b) ? mass : 0;
    }
#pragma unroll
    for (int b = 0; b < kBins; ++b) {
      const Mass sum = sum_of_warp(bins[b]);
      if (threadIdx.x % 32 == 0) shared.of_warps[threadIdx.x / 32][b] = sum;
    }
    __syncthreads();
    if (threadIdx.x < kBins) {
      Mass sum = 0;
      for (int w = 0; w < kWarps; ++w) sum += shared.of_warps[w][threadIdx.x];
      shared.bins[threadIdx.x] = sum;
    }
    __syncthreads();
    int bin = kBins - 1;
    while (bin > 0 && above + shared.bins[bin] < target) above += shared.bins[bin--];
    prefix |= static_cast<std::uint32_t>(bin) << shift;
    mask |= static_cast<std::uint32_t>(kBins - 1) << shift;
  }

  // Equal logits have equal masses.
  if (threadIdx.x == 0) shared.equal_mass = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < from.count; i += kThreads) {
    const int token = from.index[i];
    if (rank_of(from.logits[token]) == prefix) atomicMax(&shared.equal_mass, from.masses[token]);
  }
  __syncthreads();
  const Mass equal_mass = shared.equal_mass;
  const Mass wanted = (target - above + equal_mass - 1) / equal_mass;  // how many of the equals
  Mass equal_before = 0;
  for (int first = 0; first < from.count; first += kThreads) {
    const int i = first + threadIdx.x;
    const bool equal = i < from.count && rank_of(from.logits[from.index[i]]) == prefix;
    Mass here;
    const Mass place = equal_before + sum_before(equal ? 1 : 0, shared, here);
    if (equal && place + 1 == wanted) shared.found = from.index[i];
    equal_before += here;
  }
  __syncthreads();
  return {shared.found, above + wanted * equal_mass};
}

/// A block a row. A thread's part of the row is [begin, end).
__global__ void __launch_bounds__(kThreads)
    draw_kernel(const float* logits, std::int64_t stride, int n, const Draw* draws, const Mass* all_masses,
                std::int32_t* all_candidates, std::int32_t* indices) {
  __shared__ Shared shared;
  let_next_prepare();
  wait_for_previous();
  const Draw draw = draws[blockIdx.x];
  const bool answered = draw.temperature == 0.0 || indices[blockIdx.x] < 0;
  __syncthreads();  // all have read the index, which one thread writes below
  if (answered) return;
  const Mass* const masses = all_masses + blockIdx.x * std::int64_t{n};
  const int share = (n + kThreads - 1) / kThreads;
  const int begin = min(n, static_cast<int>(threadIdx.x) * share), end = min(n, begin + share);
  Mass mine = 0, total;
  for (int i = begin; i < end; ++i) mine += masses[i];
  const Mass before = sum_before(mine, shared, total);
  if (draw.top_p >= 1.0) {
    const Mass target = drawn_target(total, draw.uniform);
    if (before >= target || before + mine < target) return;
    Mass reached = before;
    for (int i = begin; i < end; ++i) {
      reached += masses[i];
      if (reached < target) continue;
      indices[blockIdx.x] = i;
      return;
    }
    return;
  }
  // Tokens no heavier than an equal share of what the nucleus leaves out cannot be in it: all of
  // them together weigh no more than that.
  const Mass enough = nucleus_target(total, draw.top_p);
  const Mass light = (total - enough) / static_cast<Mass>(n);
  Mass heavy = 0, count;
  for (int i = begin; i < end; ++i) heavy += masses[i] > light;
  std::int32_t* const candidates = all_candidates + blockIdx.x * std::int64_t{n};
  std::int32_t* to = candidates + sum_before(heavy, shared, count);
  for (int i = begin; i < end; ++i) {
    if (masses[i] > light) *to++ = i;
  }
  __syncthreads();
  const Candidates from{logits + blockIdx.x * stride, masses, candidates, static_cast<int>(count)};
  const Mass kept = find(from, enough, shared).reached;
  const int drawn = find(from, drawn_target(kept, draw.uniform), shared).index;
  if (threadIdx.x == 0) indices[blockIdx.x] = drawn;
}

}  // namespace

Status draw_indices_cuda(Context& context, ConstTensorView logits, ConstTensorView draws,
                         TensorView indices) {
  const std::int64_t rows = logits.shape[0];
  const auto n = static_cast<int>(logits.shape[1]);
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView largest, context.workspace.take({rows}, DType::f32));
  FOVEA_TRY(const TensorView masses, context.workspace.take({rows, n}, DType::i64));
  FOVEA_TRY(const TensorView candidates, context.workspace.take({rows, n}, DType::i32));
  const auto* const how = reinterpret_cast<const Draw*>(draws.data);
  auto* const mass = reinterpret_cast<Mass*>(masses.data);
  const auto blocks = static_cast<unsigned>(rows);
  FOVEA_CHECK(launch_early(context, "largest logits", largest_kernel, dim3(blocks), kThreads, 0,
                           logits.as<float>(), logits.row_stride, n, how, largest.as<float>(),
                           indices.as<std::int32_t>()));
  const auto parts = static_cast<unsigned>(std::min((n + kMassThreads - 1) / kMassThreads, 128));
  FOVEA_CHECK(launch_early(context, "masses", mass_kernel, dim3(parts, blocks), kMassThreads, 0,
                           logits.as<float>(), logits.row_stride, n, how, largest.as<float>(),
                           indices.as<std::int32_t>(), mass));
  return launch_early(context, "draw", draw_kernel, dim3(blocks), kThreads, 0, logits.as<float>(),
                      logits.row_stride, n, how, mass, candidates.as<std::int32_t>(),
                      indices.as<std::int32_t>());
}

}  // namespace fovea
