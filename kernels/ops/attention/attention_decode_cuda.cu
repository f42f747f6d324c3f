// Attention of few lanes, which is all about reading the keys and values once. Here, of few sequences:
// the lanes of a kv head go to one cluster of blocks, each of which takes an equal share of the keys.
// The shares' sums meet in shared memory and are added in the order of the keys. Launch shapes do not
// depend on the length.

#include <cooperative_groups.h>

#include "kernels/cuda/barrier.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/attention/attention_decode.cuh"

namespace fovea {
namespace {

namespace cg = cooperative_groups;

constexpr int kMostBlocks = 8;  // of a cluster: what every Hopper card offers

/// Few key-value heads leave few clusters: their blocks are larger.
template <int kLanes>
constexpr int kWarps = kLanes == 4 ? 8 : 4;
template <int kLanes>
constexpr int kThreads = 32 * kWarps<kLanes>;

/// Eight elements as they lie in memory.
template <class T>
struct Raw {
  uint4 words[sizeof(T) / 2];
};
template <class T>
__device__ __forceinline__ Raw<T> load_raw(const T* from) {
  Raw<T> raw;
#pragma unroll
  for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) raw.words[i] = reinterpret_cast<const uint4*>(from)[i];
  return raw;
}
template <class T>
__device__ __forceinline__ void widen(const Raw<T>& raw, float (&to)[kEach]) {
  load8(reinterpret_cast<const T*>(&raw), to);
}

/// Keys and values of the tokens that a team takes at a time.
template <class T, int kTokens>
struct Tokens {
  Raw<T> keys[kTokens], values[kTokens];
};

/// Tokens first, first + step, ...; from `end` on the last one again, which is read in vain but without
/// a branch: all loads are under way at once.
template <class T, int kTokens>
__device__ __forceinline__ Tokens<T, kTokens> load_tokens(const CudaSequence& sequence, std::int64_t key_offset,
                                                          std::int64_t value_offset, int first, int step, int end) {
  const std::uint32_t mask = (std::uint32_t{1} << sequence.page_shift) - 1;
  const T* keys[kTokens];
  const T* values[kTokens];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const auto token = static_cast<std::uint32_t>(min(first + t * step, end - 1));
    const std::uint32_t page = token >> sequence.page_shift, slot = token & mask;
    keys[t] = reinterpret_cast<const T*>(sequence.key_pages[page]) + key_offset + slot * sequence.key_token_stride;
    values[t] =
        reinterpret_cast<const T*>(sequence.value_pages[page]) + value_offset + slot * sequence.value_token_stride;
  }
  Tokens<T, kTokens> tokens;
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    tokens.keys[t] = load_raw(keys[t]);
    tokens.values[t] = load_raw(values[t]);
  }
  return tokens;
}

/// The teams of a block take turns. Block x of a cluster has the keys [x, x + 1) * share.
template <class T, int kTeam, int kLanes>
__global__ void __launch_bounds__(kThreads<kLanes>)
    cluster_attention_kernel(const __grid_constant__ AttentionLaunch launch) {
#if __CUDA_ARCH__ >= 900
  constexpr int kTeams = kThreads<kLanes> / kTeam;
  constexpr int kTokens = kLanes > 1 || sizeof(T) == 4 ? 2 : 4;  // of a team at a time
  constexpr int kStep = kTokens * kTeams;
  const CudaSequence& sequence = launch.sequence[blockIdx.z];
  const int group = launch.heads / launch.kv_heads;
  const int kv_head = blockIdx.y % launch.kv_heads;
  const int first_lane = blockIdx.y / launch.kv_heads * kLanes;
  const int lanes = min(sequence.rows * group - first_lane, kLanes);
  const int member = threadIdx.x % kTeam, team = threadIdx.x / kTeam;
  const int channel = member * kEach;
  const bool active = channel < launch.head_dim;
  // Threads beyond the last channel read the first ones, and weigh them with a query of zeros.
  const std::int64_t key_offset = kv_head * sequence.key_head_stride + (active ? channel : 0);
  const std::int64_t value_offset = kv_head * sequence.value_head_stride + (active ? channel : 0);

  int length = 0, begin = 0, end = 0;
  const auto take_share = [&] {
    length = *sequence.length;
    const int share = (length + gridDim.x - 1) / gridDim.x;
    begin = min(static_cast<int>(blockIdx.x) * share, length);
    end = min(begin + share, length);
  };
  Tokens<T, kTokens> next;
  const auto load_first = [&] {
    next = load_tokens<T, kTokens>(sequence, key_offset, value_offset, begin + team, kTeams, end);
  };
  // All that lies before the newest token.
  bool there = false;
  if (launch.history_settled && lanes > 0) {
    take_share();
    there = begin < end && begin + kStep < length;
    if (there) load_first();
  }
  let_next_prepare();
  wait_for_previous();
  if (lanes <= 0) return;  // the whole cluster
  const int before = length;
  take_share();
  if (begin < end && !(there && length == before)) load_first();

  const auto row_of = [&](int l) { return sequence.first_row + (first_lane + l) / group; };
  const auto head_of = [&](int l) { return kv_head * group + (first_lane + l) % group; };
  float query[kLanes][kEach];
  Sums sums[kLanes];
  int seen[kLanes];
#pragma unroll
  for (int l = 0; l < kLanes; ++l) {
    const int lane = min(l, lanes - 1);
    load_query<kTeam, kEach>(launch, row_of(lane), head_of(lane), member, query[l]);
    seen[l] = visible_keys(launch, sequence, length, (first_lane + lane) / group);
  }

  for (int first = begin; first < end; first += kStep) {
    const Tokens<T, kTokens> now = next;
    if (first + kStep < end) {
      next = load_tokens<T, kTokens>(sequence, key_offset, value_offset, first + kStep + team, kTeams, end);
    }
    float key[kTokens][kEach], value[kTokens][kEach], bias[kTokens];
    int token[kTokens];
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      token[t] = first + t * kTeams + team;
      widen(now.keys[t], key[t]);
      widen(now.values[t], value[t]);
      bias[t] = sequence.key_bias != nullptr && token[t] < end ? sequence.key_bias[token[t]] * kLog2EFloat : 0.0f;
    }
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      float logit[kTokens];
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        float dot = 0.0f;
#pragma unroll
        for (int c = 0; c < kEach; ++c) dot = fmaf(query[l][c], key[t][c], dot);
        dot = team_sum<kTeam>(dot);
        logit[t] = token[t] < end && token[t] < seen[l] ? dot + bias[t] : -INFINITY;
      }
      sums[l].add(logit, value);
    }
  }

  // Teams of a warp, then warps, then blocks of the cluster.
  __shared__ Share<kTeam> of_warps[kWarps<kLanes>][kLanes];
  __shared__ Share<kTeam> of_block[kLanes];
#pragma unroll
  for (int l = 0; l < kLanes; ++l) add_teams<kTeam, kEach>(sums[l], member, of_warps[threadIdx.x / 32][l]);
  __syncthreads();
  for (int i = threadIdx.x; i < lanes * launch.head_dim; i += kThreads<kLanes>) {
    const int l = i / launch.head_dim, c = i % launch.head_dim;
    const Channel all = add_warps(of_warps, l, c);
    of_block[l].sums[c] = all.sum;
    if (c == 0) {
      of_block[l].maximum = all.maximum;
      of_block[l].total = all.total;
    }
  }

  const cg::cluster_group cluster = cg::this_cluster();
  cluster.sync();
  const int blocks = static_cast<int>(cluster.num_blocks());
  // Blocks of the cluster take channels in turn, so that none has to finish them all.
  for (int i = blockIdx.x * kThreads<kLanes> + threadIdx.x; i < lanes * launch.head_dim;
       i += gridDim.x * kThreads<kLanes>) {
    const int l = i / launch.head_dim, c = i % launch.head_dim;
    // All shares are under way before the first is used.
    float maxima[kMostBlocks], totals[kMostBlocks], parts[kMostBlocks];
#pragma unroll
    for (int b = 0; b < kMostBlocks; ++b) {
      if (b >= blocks) continue;
      const Share<kTeam>* from = cluster.map_shared_rank(&of_block[l], b);
      maxima[b] = from->maximum;
      totals[b] = from->total;
      parts[b] = from->sums[c];
    }
    Channel all;
#pragma unroll
    for (int b = 0; b < kMostBlocks; ++b) {
      if (b < blocks) all.maximum = fmaxf(all.maximum, maxima[b]);
    }
    const float shift = all.maximum == -INFINITY ? 0.0f : all.maximum;
#pragma unroll
    for (int b = 0; b < kMostBlocks; ++b) {
      if (b >= blocks) continue;
      const float weight = exp2f(maxima[b] - shift);
      all.sum = fmaf(parts[b], weight, all.sum);
      all.total = fmaf(totals[b], weight, all.total);
    }
    store_channel(launch, row_of(l), head_of(l), c, all);
  }
  leave_cluster();
#endif
}

/// Blocks a cluster: as many as occupy the card twice, or once with blocks of several lanes, of which a
/// multiprocessor holds a single one; clusters do not pack well enough for more. 1 of many sequences,
/// whose blocks have all keys each.
int cluster_size(std::int64_t clusters, int multiprocessors, bool several_lanes) {
  const int room = several_lanes ? multiprocessors : 2 * multiprocessors;
  if (clusters >= (several_lanes ? room + room / 2 : room)) return 1;
  int size = kMostBlocks;
  while (size > 2 && clusters * size > room) size /= 2;
  return size;
}

template <class T, int kTeam, int kLanes>
Status launch_clusters(const AttentionLaunch& launch, int size, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(size), static_cast<unsigned>(blocks_of_lanes<kLanes>(launch)),
                  static_cast<unsigned>(launch.sequences));
  return launch_early_in_clusters(stream, "cluster attention", cluster_attention_kernel<T, kTeam, kLanes>, grid,
                                  kThreads<kLanes>, 0, size, launch);
}

}  // namespace

Status launch_decode_attention(const AttentionLaunch& launch, DType kv_type, int multiprocessors, bool clusters,
                               cudaStream_t stream) {
  return with_team_and_lanes(launch, [&](auto team, auto lanes) -> Status {
    constexpr int kTeam = team, kLanes = lanes;
    const std::int64_t blocks = std::int64_t{blocks_of_lanes<kLanes>(launch)} * launch.sequences;
    const int size = clusters ? cluster_size(blocks, multiprocessors, kLanes > 1) : 1;
    if (size == 1) return launch_ring_attention(launch, kv_type, multiprocessors, stream);
    return with_float_type(kv_type, [&](auto type) {
      return launch_clusters<typename decltype(type)::type, kTeam, kLanes>(launch, size, stream);
    });
  });
}

}  // namespace fovea
