// Attention of few lanes a sequence, for many sequences: one block has all keys of a kv head. Copies
// of the next tokens are under way while a thread works on its last ones; they wait in shared memory,
// where each thread has places of its own, so that a multiprocessor asks for enough at a time and no
// barrier is needed before the block's sums meet.

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/attention/attention_decode.cuh"

namespace fovea {
namespace {

/// How the memory of a multiprocessor is shared out. Four wide blocks serve any number of blocks; eight
/// narrow ones start and end sooner.
template <class T, int kTeam, int kLanes, bool kWide>
struct Form {
  static constexpr int kWarps = kLanes == 1 ? (kWide ? 8 : 2) : kLanes == 4 ? 4 : 2;
  static constexpr int kBytes = kLanes == 1 && !kWide ? 64 : 32;  // a thread reads of keys at a time
  static constexpr int kTokens = kBytes / (kEach * static_cast<int>(sizeof(T)));
  static constexpr int kDepth = kLanes == 1 ? (kWide ? 2 : 3) : kLanes == 8 ? 5 : kTeam == 32 ? 3 : 4;
  static constexpr int kBlocks = kLanes == 1 && !kWide ? 8 : 4;  // of a multiprocessor
};

/// Narrow blocks are worth it where nearly eight fall to each multiprocessor: fewer would leave some
/// with less work than others, and more would wait for the first ones' end.
bool narrow(int blocks, int multiprocessors) {
  return blocks <= 8 * multiprocessors && 2 * blocks > 15 * multiprocessors;
}

template <class T, int kTeam, int kLanes, bool kWide, class F = Form<T, kTeam, kLanes, kWide>>
__global__ void __launch_bounds__(32 * F::kWarps, F::kBlocks)
    ring_attention_kernel(const __grid_constant__ AttentionLaunch launch) {
  constexpr int kThreads = 32 * F::kWarps, kTeams = kThreads / kTeam;
  constexpr int kTokens = F::kTokens, kDepth = F::kDepth, kStep = kTokens * kTeams;
  constexpr int kPiece = 16 / sizeof(T), kPieces = kEach / kPiece;
  __shared__ uint4 ring[kDepth][kTokens][2][kPieces][kThreads];
  __shared__ Share<kTeam> of_warps[F::kWarps][kLanes];

  const CudaSequence& sequence = launch.sequence[blockIdx.y];
  // One lane at most is one row of one head.
  const int group = kLanes == 1 ? 1 : launch.heads / launch.kv_heads;
  const int kv_head = kLanes == 1 ? blockIdx.x : blockIdx.x % launch.kv_heads;
  const int first_lane = kLanes == 1 ? 0 : blockIdx.x / launch.kv_heads * kLanes;
  const int lanes = min(sequence.rows * group - first_lane, kLanes);
  const int member = threadIdx.x % kTeam, team = threadIdx.x / kTeam;
  const std::int64_t key_offset = kv_head * sequence.key_head_stride;
  const std::int64_t value_offset = kv_head * sequence.value_head_stride;
  const std::uint32_t mask = (std::uint32_t{1} << sequence.page_shift) - 1;

  // Orders the team's tokens of the step that begins with token `first`; zeros from `length` on.
  const auto order_step = [&](int first, int length, int place) {
    const std::uint32_t first_page = static_cast<std::uint32_t>(first) >> sequence.page_shift;
    const std::byte* key_page = sequence.key_pages[first_page];
    const std::byte* value_page = sequence.value_pages[first_page];
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const int token = first + t * kTeams + team;
      const auto near = static_cast<std::uint32_t>(min(token, length - 1));
      const std::uint32_t page = near >> sequence.page_shift, slot = near & mask;
      if (page != first_page) {
        key_page = sequence.key_pages[page];
        value_page = sequence.value_pages[page];
      }
      const T* key = reinterpret_cast<const T*>(key_page) + key_offset + slot * sequence.key_token_stride;
      const T* value = reinterpret_cast<const T*>(value_page) + value_offset + slot * sequence.value_token_stride;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        const int channel = channel_of<kTeam, kPiece>(member, i * kPiece);
        const bool there = token < length && channel < launch.head_dim;
        const int from = channel < launch.head_dim ? channel : 0;
        copy_async_16(shared_address(&ring[place][t][0][i][threadIdx.x]), key + from, there);
        copy_async_16(shared_address(&ring[place][t][1][i][threadIdx.x]), value + from, there);
      }
    }
  };

  // Steps that lie before the newest token, ordered before it is known. Every step is a group of
  // copies, ordered or not.
  int ordered = 0, before = -1;
  if (launch.history_settled && lanes > 0) {
    before = *sequence.length;
#pragma unroll 1
    for (; ordered < kDepth && (ordered + 1) * kStep < before; ++ordered) {
      order_step(ordered * kStep, before, ordered);
      commit_copies();
    }
  }
  let_next_prepare();
  wait_for_previous();
  if (lanes <= 0) return;
  const int length = *sequence.length;
  if (length != before) {
    wait_copies<0>();
    ordered = 0;
  }
#pragma unroll 1
  for (; ordered < kDepth; ++ordered) {
    if (ordered * kStep < length) order_step(ordered * kStep, length, ordered);
    commit_copies();
  }

  const auto row_of = [&](int l) { return sequence.first_row + (first_lane + l) / group; };
  const auto head_of = [&](int l) { return kv_head * group + (first_lane + l) % group; };
  float query[kLanes][kEach];
  Sums sums[kLanes];
  int seen[kLanes];
#pragma unroll
  for (int l = 0; l < kLanes; ++l) {
    const int lane = min(l, lanes - 1);
    load_query<kTeam, kPiece>(launch, row_of(lane), head_of(lane), member, query[l]);
    seen[l] = min(visible_keys(launch, sequence, length, (first_lane + lane) / group), length);
  }

  int place = 0;
#pragma unroll 1
  for (int first = 0; first < length; first += kStep) {
    wait_copies<kDepth - 1>();
    uint4 keys[kTokens][kPieces], values[kTokens][kPieces];
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        keys[t][i] = ring[place][t][0][i][threadIdx.x];
        values[t][i] = ring[place][t][1][i][threadIdx.x];
      }
    }
    if (first + kDepth * kStep < length) order_step(first + kDepth * kStep, length, place);
    commit_copies();
    place = place + 1 == kDepth ? 0 : place + 1;

    float key[kTokens][kEach], value[kTokens][kEach], bias[kTokens];
    int token[kTokens];
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      token[t] = first + t * kTeams + team;
      load8(reinterpret_cast<const T*>(keys[t]), key[t]);
      load8(reinterpret_cast<const T*>(values[t]), value[t]);
      bias[t] = sequence.key_bias != nullptr && token[t] < length ? sequence.key_bias[token[t]] * kLog2EFloat : 0.0f;
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
        logit[t] = token[t] < seen[l] ? dot + bias[t] : -INFINITY;
      }
      sums[l].add(logit, value);
    }
  }

#pragma unroll
  for (int l = 0; l < kLanes; ++l) add_teams<kTeam, kPiece>(sums[l], member, of_warps[threadIdx.x / 32][l]);
  __syncthreads();
  for (int i = threadIdx.x; i < lanes * launch.head_dim; i += kThreads) {
    const int l = kLanes == 1 ? 0 : i / launch.head_dim, channel = i - l * launch.head_dim;
    store_channel(launch, row_of(l), head_of(l), channel, add_warps(of_warps, l, channel));
  }
}

template <class T, int kTeam, int kLanes, bool kWide>
Status launch_form(const AttentionLaunch& launch, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(blocks_of_lanes<kLanes>(launch)), static_cast<unsigned>(launch.sequences));
  return launch_early(stream, "attention of many sequences", ring_attention_kernel<T, kTeam, kLanes, kWide>, grid,
                      dim3(32 * Form<T, kTeam, kLanes, kWide>::kWarps), 0, launch);
}

}  // namespace

Status launch_ring_attention(const AttentionLaunch& launch, DType kv_type, int multiprocessors,
                             cudaStream_t stream) {
  return with_float_type(kv_type, [&](auto type) {
    return with_team_and_lanes(launch, [&](auto team, auto lanes) -> Status {
      using T = typename decltype(type)::type;
      constexpr int kTeam = team, kLanes = lanes;
      if constexpr (kLanes == 1) {
        const int blocks = blocks_of_lanes<kLanes>(launch) * launch.sequences;
        if (narrow(blocks, multiprocessors)) return launch_form<T, kTeam, kLanes, false>(launch, stream);
      }
      return launch_form<T, kTeam, kLanes, true>(launch, stream);
    });
  });
}

}  // namespace fovea
