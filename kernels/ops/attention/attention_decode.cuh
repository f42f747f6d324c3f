#pragma once
// What the kernels of decoded rows share. A team of kTeam threads reads whole tokens, eight channels a
// thread; what the teams of a block have summed is added over the teams of a warp, then over warps.

#include <cstdint>
#include <type_traits>

#include "kernels/ops/attention/attention_launch.cuh"

namespace fovea {

/// One block for the lanes of a kv head, for sequences so many that these blocks occupy the card.
Status launch_ring_attention(const AttentionLaunch& launch, DType kv_type, int multiprocessors,
                             cudaStream_t stream);

/// Query heads times rows that a sequence has at most a kv head, and blocks of kLanes of them.
inline int most_lanes(const AttentionLaunch& launch) {
  return launch.most_rows * (launch.heads / launch.kv_heads);
}
template <int kLanes>
int blocks_of_lanes(const AttentionLaunch& launch) {
  return (most_lanes(launch) + kLanes - 1) / kLanes * launch.kv_heads;
}

/// Calls run(team, lanes) with the threads that share a token and the lanes of a block, as constants.
template <class Run>
Status with_team_and_lanes(const AttentionLaunch& launch, const Run& run) {
  const auto with_lanes = [&](auto team) -> Status {
    const int lanes = most_lanes(launch);
    if (lanes == 1) return run(team, std::integral_constant<int, 1>{});
    if (lanes <= 4) return run(team, std::integral_constant<int, 4>{});
    return run(team, std::integral_constant<int, 8>{});
  };
  if (launch.head_dim <= 32) return with_lanes(std::integral_constant<int, 4>{});
  if (launch.head_dim <= 64) return with_lanes(std::integral_constant<int, 8>{});
  if (launch.head_dim <= 128) return with_lanes(std::integral_constant<int, 16>{});
  return with_lanes(std::integral_constant<int, 32>{});
}

inline constexpr int kEach = 8;  // channels of one thread

/// Channel c of a team's thread whose neighbours' pieces of kPiece channels lie side by side.
template <int kTeam, int kPiece>
__device__ __forceinline__ int channel_of(int member, int c) {
  return (c / kPiece * kTeam + member) * kPiece + c % kPiece;
}

/// The query of a lane, scaled, and zeros beyond its channels.
template <int kTeam, int kPiece>
__device__ __forceinline__ void load_query(const AttentionLaunch& launch, std::int64_t row, int head, int member,
                                           float (&to)[kEach]) {
  const std::int64_t first = row * launch.query_stride + std::int64_t{head} * launch.head_dim;
  const auto load = [&](const auto* from) {
#pragma unroll
    for (int piece = 0; piece < kEach; piece += kPiece) {
      const int channel = channel_of<kTeam, kPiece>(member, piece);
      const bool active = channel < launch.head_dim;
#pragma unroll
      for (int c = 0; c < kPiece; ++c) to[piece + c] = active ? load_float(from[first + channel + c]) : 0.0f;
    }
  };
  if (launch.query_type == DType::f32) {
    load(reinterpret_cast<const float*>(launch.query));
  } else if (launch.query_type == DType::bf16) {
    load(reinterpret_cast<const __nv_bfloat16*>(launch.query));
  } else {
    load(reinterpret_cast<const __half*>(launch.query));
  }
#pragma unroll
  for (int c = 0; c < kEach; ++c) to[c] *= launch.scale;
}

/// q.k of one token over the threads of a team; every thread gets it.
template <int kTeam>
__device__ __forceinline__ float team_sum(float value) {
#pragma unroll
  for (int step = kTeam / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
  return value;
}

/// What a thread has summed of one lane: not yet normalised, with the largest logit and the sum of
/// exponentials below it.
struct Sums {
  float of[kEach] = {};
  float maximum = -INFINITY, total = 0.0f;

  /// Takes up kTokens more tokens.
  template <int kTokens>
  __device__ __forceinline__ void add(const float (&logit)[kTokens], const float (&value)[kTokens][kEach]) {
    float highest = maximum;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) highest = fmaxf(highest, logit[t]);
    const float shift = highest == -INFINITY ? 0.0f : highest;
    const float fade = exp2f(maximum - shift);
    maximum = highest;
    total *= fade;
#pragma unroll
    for (int c = 0; c < kEach; ++c) of[c] *= fade;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const float p = exp2f(logit[t] - shift);
      total += p;
#pragma unroll
      for (int c = 0; c < kEach; ++c) of[c] = fmaf(p, value[t][c], of[c]);
    }
  }
};

/// The same of all channels, as it lies in shared memory.
template <int kTeam>
struct Share {
  float sums[kTeam * kEach];
  float maximum, total;
};

/// Adds the sums of the teams of a warp into its share.
template <int kTeam, int kPiece>
__device__ __forceinline__ void add_teams(Sums sums, int member, Share<kTeam>& share) {
#pragma unroll
  for (int step = kTeam; step < 32; step *= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFu, sums.maximum, step);
    const float highest = fmaxf(sums.maximum, other);
    const float shift = highest == -INFINITY ? 0.0f : highest;
    const float mine = exp2f(sums.maximum - shift), theirs = exp2f(other - shift);
    sums.total = sums.total * mine + __shfl_xor_sync(0xFFFFFFFFu, sums.total, step) * theirs;
#pragma unroll
    for (int c = 0; c < kEach; ++c) {
      sums.of[c] = sums.of[c] * mine + __shfl_xor_sync(0xFFFFFFFFu, sums.of[c], step) * theirs;
    }
    sums.maximum = highest;
  }
  if (threadIdx.x % 32 >= kTeam) return;
#pragma unroll
  for (int c = 0; c < kEach; ++c) share.sums[channel_of<kTeam, kPiece>(member, c)] = sums.of[c];
  if (member == 0) {
    share.maximum = sums.maximum;
    share.total = sums.total;
  }
}

/// One channel of shares added up.
struct Channel {
  float sum = 0.0f, total = 0.0f, maximum = -INFINITY;
};
template <int kTeam, int kLanes, int kWarps>
__device__ __forceinline__ Channel add_warps(const Share<kTeam> (&of_warps)[kWarps][kLanes], int lane, int channel) {
  Channel all;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) all.maximum = fmaxf(all.maximum, of_warps[w][lane].maximum);
  const float shift = all.maximum == -INFINITY ? 0.0f : all.maximum;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const float weight = exp2f(of_warps[w][lane].maximum - shift);
    all.sum = fmaf(of_warps[w][lane].sums[channel], weight, all.sum);
    all.total = fmaf(of_warps[w][lane].total, weight, all.total);
  }
  return all;
}

/// Writes the normalised channel, and the log-sum-exp along with the first.
__device__ __forceinline__ void store_channel(const AttentionLaunch& launch, std::int64_t row, int head, int channel,
                                              const Channel& all) {
  store_any(launch.out, launch.out_type, row * launch.out_stride + std::int64_t{head} * launch.head_dim + channel,
            all.total == 0.0f ? 0.0f : all.sum / all.total);
  if (launch.lse != nullptr && channel == 0) {
    launch.lse[head * launch.lse_stride + row] = natural_lse(all.maximum, all.total);
  }
}

}  // namespace fovea
