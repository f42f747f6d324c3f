// Attention of few lanes, which is all about reading the keys and values once: the lanes of a kv head
// go to one cluster of blocks, each of which takes an equal share of the keys. The shares' sums meet
// in shared memory and are added in the order of the keys. Launch shapes do not depend on the length.

#include <cooperative_groups.h>

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/attention/attention_launch.cuh"

namespace fovea {
namespace {

namespace cg = cooperative_groups;

constexpr int kEach = 8;        // channels of one thread
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

/// Elements of a block of f32, f16 or bf16 from `index` on.
__device__ __forceinline__ void load_each(const void* block, DType dtype, std::int64_t index, float (&to)[kEach]) {
  const auto load = [&](const auto* from) {
#pragma unroll
    for (int c = 0; c < kEach; ++c) to[c] = load_float(from[index + c]);
  };
  if (dtype == DType::f32) {
    load(static_cast<const float*>(block));
  } else if (dtype == DType::bf16) {
    load(static_cast<const __nv_bfloat16*>(block));
  } else {
    load(static_cast<const __half*>(block));
  }
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

/// What is left of one lane's share: sums not yet normalised, their maximum and total.
template <int kTeam>
struct Share {
  float sums[kTeam * kEach];
  float maximum, total;
};

/// q.k of one token over the threads of a team; every thread gets it.
template <int kTeam>
__device__ __forceinline__ float team_sum(float value) {
#pragma unroll
  for (int step = kTeam / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
  return value;
}

/// A team of kTeam threads reads whole tokens, eight channels a thread; the teams of a block take
/// turns. Block x of a cluster has the keys [x, x + 1) * share. kFew: so few sequences that clusters
/// have several blocks; what then shortens the way from one launch to the next would take registers
/// from many sequences, whose blocks hide it by their number.
template <class T, int kTeam, int kLanes, bool kFew>
__global__ void __launch_bounds__(kThreads<kLanes>)
    decode_attention_kernel(const __grid_constant__ AttentionLaunch launch) {
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
  [[maybe_unused]] bool there = false;
  if constexpr (kFew) {
    if (launch.history_settled && lanes > 0) {
      take_share();
      there = begin < end && begin + kStep < length;
      if (there) load_first();
    }
  }
  let_next_prepare();
  wait_for_previous();
  if (lanes <= 0) return;  // the whole cluster
  [[maybe_unused]] const int before = length;
  take_share();
  if constexpr (kFew) {
    if (begin < end && !(there && length == before)) load_first();
  }

  float query[kLanes][kEach], sums[kLanes][kEach] = {}, maximum[kLanes], total[kLanes];
  int seen[kLanes];
#pragma unroll
  for (int l = 0; l < kLanes; ++l) {
    const int lane = first_lane + min(l, lanes - 1);
    const int row = lane / group, head = kv_head * group + lane % group;
    const std::int64_t from = (sequence.first_row + row) * launch.query_stride +
                              std::int64_t{head} * launch.head_dim + channel;
    if constexpr (kFew) {
      if (active) load_each(launch.query, launch.query_type, from, query[l]);
    }
#pragma unroll
    for (int c = 0; c < kEach; ++c) {
      if constexpr (!kFew) {
        if (active) query[l][c] = load_any(launch.query, launch.query_type, from + c);
      }
      query[l][c] = active ? query[l][c] * launch.scale : 0.0f;
    }
    seen[l] = visible_keys(launch, sequence, length, row);
    maximum[l] = -INFINITY;
    total[l] = 0.0f;
  }

  if constexpr (!kFew) {
    if (begin < end) load_first();
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
      float logit[kTokens], highest = maximum[l];
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        float dot = 0.0f;
#pragma unroll
        for (int c = 0; c < kEach; ++c) dot = fmaf(query[l][c], key[t][c], dot);
        dot = team_sum<kTeam>(dot);
        logit[t] = token[t] < end && token[t] < seen[l] ? dot + bias[t] : -INFINITY;
        highest = fmaxf(highest, logit[t]);
      }
      const float shift = highest == -INFINITY ? 0.0f : highest;
      const float fade = exp2f(maximum[l] - shift);
      maximum[l] = highest;
      total[l] *= fade;
#pragma unroll
      for (int c = 0; c < kEach; ++c) sums[l][c] *= fade;
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        const float p = exp2f(logit[t] - shift);
        total[l] += p;
#pragma unroll
        for (int c = 0; c < kEach; ++c) sums[l][c] = fmaf(p, value[t][c], sums[l][c]);
      }
    }
  }

  // Teams of a warp, then warps, then blocks of the cluster.
  __shared__ Share<kTeam> of_warps[kWarps<kLanes>][kLanes];
  __shared__ Share<kTeam> of_block[kLanes];
  const int warp = threadIdx.x / 32;
#pragma unroll
  for (int l = 0; l < kLanes; ++l) {
#pragma unroll
    for (int step = kTeam; step < 32; step *= 2) {
      const float other = __shfl_xor_sync(0xFFFFFFFFu, maximum[l], step);
      const float highest = fmaxf(maximum[l], other);
      const float shift = highest == -INFINITY ? 0.0f : highest;
      const float mine = exp2f(maximum[l] - shift), theirs = exp2f(other - shift);
      total[l] = total[l] * mine + __shfl_xor_sync(0xFFFFFFFFu, total[l], step) * theirs;
#pragma unroll
      for (int c = 0; c < kEach; ++c) {
        sums[l][c] = sums[l][c] * mine + __shfl_xor_sync(0xFFFFFFFFu, sums[l][c], step) * theirs;
      }
      maximum[l] = highest;
    }
    if (threadIdx.x % 32 < kTeam) {
#pragma unroll
      for (int c = 0; c < kEach; ++c) of_warps[warp][l].sums[channel + c] = sums[l][c];
      if (member == 0) {
        of_warps[warp][l].maximum = maximum[l];
        of_warps[warp][l].total = total[l];
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < lanes * launch.head_dim; i += kThreads<kLanes>) {
    const int l = i / launch.head_dim, c = i % launch.head_dim;
    float highest = -INFINITY;
    for (int w = 0; w < kWarps<kLanes>; ++w) highest = fmaxf(highest, of_warps[w][l].maximum);
    const float shift = highest == -INFINITY ? 0.0f : highest;
    float sum = 0.0f, mass = 0.0f;
    for (int w = 0; w < kWarps<kLanes>; ++w) {
      const float weight = exp2f(of_warps[w][l].maximum - shift);
      sum = fmaf(of_warps[w][l].sums[c], weight, sum);
      mass = fmaf(of_warps[w][l].total, weight, mass);
    }
    of_block[l].sums[c] = sum;
    if (c == 0) {
      of_block[l].maximum = highest;
      of_block[l].total = mass;
    }
  }

#if __CUDA_ARCH__ >= 900
  const cg::cluster_group cluster = cg::this_cluster();
  cluster.sync();
  const int blocks = static_cast<int>(cluster.num_blocks());
  const auto share_of = [&](int block, int l) { return cluster.map_shared_rank(&of_block[l], block); };
#else
  __syncthreads();
  constexpr int blocks = 1;
  const auto share_of = [&](int, int l) { return &of_block[l]; };
#endif
  // Blocks of the cluster take channels in turn, so that none has to finish them all.
  for (int i = blockIdx.x * kThreads<kLanes> + threadIdx.x; i < lanes * launch.head_dim;
       i += gridDim.x * kThreads<kLanes>) {
    const int l = i / launch.head_dim, c = i % launch.head_dim;
    // All shares are under way before the first is used.
    constexpr int kMost = kFew ? kMostBlocks : 1;
    float maxima[kMost], totals[kMost], parts[kMost];
#pragma unroll
    for (int b = 0; b < kMost; ++b) {
      if (b >= blocks) continue;
      const Share<kTeam>* from = share_of(b, l);
      maxima[b] = from->maximum;
      totals[b] = from->total;
      parts[b] = from->sums[c];
    }
    float highest = -INFINITY, sum = 0.0f, mass = 0.0f;
#pragma unroll
    for (int b = 0; b < kMost; ++b) {
      if (b < blocks) highest = fmaxf(highest, maxima[b]);
    }
    const float shift = highest == -INFINITY ? 0.0f : highest;
#pragma unroll
    for (int b = 0; b < kMost; ++b) {
      if (b >= blocks) continue;
      const float weight = exp2f(maxima[b] - shift);
      sum = fmaf(parts[b], weight, sum);
      mass = fmaf(totals[b], weight, mass);
    }
    const int lane = first_lane + l, head = kv_head * group + lane % group;
    const std::int64_t row = sequence.first_row + lane / group;
    store_any(launch.out, launch.out_type, row * launch.out_stride + std::int64_t{head} * launch.head_dim + c,
              mass == 0.0f ? 0.0f : sum / mass);
    if (launch.lse != nullptr && c == 0) {
      launch.lse[head * launch.lse_stride + row] = natural_lse(highest, mass);
    }
  }
#if __CUDA_ARCH__ >= 900
  cluster.sync();  // nobody leaves while others read its share
#endif
}

/// Blocks a cluster: enough to occupy the card twice.
int cluster_size(std::int64_t clusters, int multiprocessors) {
  int size = 1;
  while (size < kMostBlocks && clusters * size < 2 * std::int64_t{multiprocessors}) size *= 2;
  return size;
}

template <class T, int kTeam, int kLanes>
Status launch_lanes(const AttentionLaunch& launch, int multiprocessors, bool clusters, cudaStream_t stream) {
  const int most_lanes = launch.most_rows * (launch.heads / launch.kv_heads);
  const int parts = (most_lanes + kLanes - 1) / kLanes * launch.kv_heads;
  const int size =
      clusters ? cluster_size(std::int64_t{parts} * launch.sequences, multiprocessors) : 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(size), static_cast<unsigned>(parts),
                        static_cast<unsigned>(launch.sequences));
  config.blockDim = dim3(kThreads<kLanes>);
  config.stream = stream;
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(size);
  attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
  config.attrs = attributes;
  config.numAttrs = clusters ? 2 : 1;
  FOVEA_CUDA_CHECK(cudaLaunchKernelEx(&config,
                                      size > 1 ? decode_attention_kernel<T, kTeam, kLanes, true>
                                               : decode_attention_kernel<T, kTeam, kLanes, false>,
                                      launch));
  return {};
}

template <class T, int kTeam>
Status launch_team(const AttentionLaunch& launch, int multiprocessors, bool clusters, cudaStream_t stream) {
  const int lanes = launch.most_rows * (launch.heads / launch.kv_heads);
  if (lanes == 1) return launch_lanes<T, kTeam, 1>(launch, multiprocessors, clusters, stream);
  if (lanes <= 4) return launch_lanes<T, kTeam, 4>(launch, multiprocessors, clusters, stream);
  return launch_lanes<T, kTeam, 8>(launch, multiprocessors, clusters, stream);
}

}  // namespace

Status launch_decode_attention(const AttentionLaunch& launch, DType kv_type, int multiprocessors, bool clusters,
                               cudaStream_t stream) {
  return with_float_type(kv_type, [&](auto type) -> Status {
    using T = typename decltype(type)::type;
    if (launch.head_dim <= 32) return launch_team<T, 4>(launch, multiprocessors, clusters, stream);
    if (launch.head_dim <= 64) return launch_team<T, 8>(launch, multiprocessors, clusters, stream);
    if (launch.head_dim <= 128) return launch_team<T, 16>(launch, multiprocessors, clusters, stream);
    return launch_team<T, 32>(launch, multiprocessors, clusters, stream);
  });
}

}  // namespace fovea
