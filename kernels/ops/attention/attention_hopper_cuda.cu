// Attention on Hopper's tensor cores (sm_90a), 16-bit in and out and float32 inside: a block takes 128
// rows of one head, or 64 where there are too few rows for all multiprocessors. Its first four warps
// bring keys and values, 128 at a time; two groups of four warps (or one) take 64 rows each and walk
// over them. While a group's exponentials are taken, the tensor cores weigh its values of the step
// before, and work for the other group.

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/attention/attention_hopper.cuh"

namespace fovea {
namespace {

using namespace hopper;

#ifdef FOVEA_WGMMA

constexpr int kLoaderRegisters = 40, kGroupRegisters = 232;  // of a thread, where there are two groups

/// The running softmax of a thread's two rows: row lane / 4 of its warp's sixteen and eight below.
struct Softmax {
  const float* bias;
  float scale, factor;
  bool plain;
  int seen[2], clear, limit;
  float maximum[2], total[2], fade[2];

  /// Logits of keys [first, first + kKeys) become exponentials below the maximum so far.
  __device__ __forceinline__ void take(float (&logit)[kKeys / 2], int first, int lane) {
    if (!plain) {
#pragma unroll
      for (int i = 0; i < kKeys / 4; ++i) {
        const int token = first + 8 * (i / 2) + 2 * (lane % 4) + i % 2;
        const float more = bias != nullptr && token < limit ? bias[token] * kLog2EFloat : 0.0f;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float& value = logit[i / 2 * 4 + 2 * r + i % 2];
          value = fmaf(value, scale, more);
        }
      }
    }
    if (first + kKeys > clear) {
#pragma unroll
      for (int i = 0; i < kKeys / 2; ++i) {
        if (first + 8 * (i / 4) + 2 * (lane % 4) + i % 2 >= seen[i / 2 % 2]) logit[i] = -INFINITY;
      }
    }
    float shift[2], sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float highest = logit[2 * r];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        highest = fmaxf(highest, fmaxf(logit[4 * n + 2 * r], logit[4 * n + 2 * r + 1]));
      }
      highest = fmaxf(maximum[r], max_of_quad(highest) * factor);
      shift[r] = highest == -INFINITY ? 0.0f : highest;
      fade[r] = fast_exp2(maximum[r] - shift[r]);
      maximum[r] = highest;
    }
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      logit[i] = fast_exp2(fmaf(logit[i], factor, -shift[i / 2 % 2]));
      sum[i / 2 % 2] += logit[i];
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) total[r] = fmaf(total[r], fade[r], sum[r]);
  }
};

/// logit = query keys^T.
template <class T, int kChannels>
__device__ __forceinline__ void multiply_keys(float (&logit)[kKeys / 2], std::uint64_t query,
                                              std::uint64_t keys) {
#pragma unroll
  for (int k = 0; k < kChannels / 16; ++k) {
    const int further = (k / 4 * kTileBytes + k % 4 * 32) >> 4;
    WarpgroupProduct<T, kKeys>::of_tiles(logit, query + further, keys + further, k > 0);
  }
}
/// sums += weights values.
template <class T, int kChannels>
__device__ __forceinline__ void weigh_values(float (&sums)[kChannels / 2],
                                             const std::uint32_t (&weights)[kKeys / 16][4],
                                             std::uint64_t values) {
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    WarpgroupProduct<T, kChannels>::of_registers(sums, weights[k], values + (k * 16 * kTileRowBytes >> 4));
  }
}

template <class T>
__device__ __forceinline__ void pack(const float (&exponentials)[kKeys / 2],
                                     std::uint32_t (&weights)[kKeys / 16][4]) {
#pragma unroll
  for (int i = 0; i < kKeys / 4; ++i) {
    weights[i / 4][i % 4] = pack_pair<T>(exponentials[2 * i], exponentials[2 * i + 1]);
  }
}

/// A warp's sixteen rows, divided by their totals, by way of shared memory so that they leave in whole
/// lines.
template <class T, int kChannels>
__device__ __forceinline__ void store_rows(const AttentionLaunch& launch, const CudaSequence& sequence,
                                           int head, int first_row, const float (&sums)[kChannels / 2],
                                           const float (&inverse)[2], std::uint32_t through) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kChannels / 8; n += 2) {
    std::uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const pair = sums + 4 * (n + i / 2) + 2 * (i % 2);
      words[i] = pack_pair<T>(pair[0] * inverse[i % 2], pair[1] * inverse[i % 2]);
    }
    store_matrices(words, place(through, lane % 16, n + lane / 16));
  }
  __syncwarp();
  using P = Places<kChannels>;
  constexpr int kDown = 32 / P::kAcross;
  const int piece = lane % P::kAcross;
  if (piece >= kChannels / 8) return;
  T* const out = reinterpret_cast<T*>(launch.out) + std::int64_t{head} * kChannels + 8 * piece;
#pragma unroll
  for (int i = 0; i < 16 / kDown; ++i) {
    const int row = lane / P::kAcross + i * kDown;
    if (first_row + row >= sequence.rows) break;
    *reinterpret_cast<uint4*>(out + (sequence.first_row + first_row + row) * launch.out_stride) =
        load_shared_16(place(through, row, piece));
  }
}

/// What a group does. `first_row` and `last_row` are the block's, as is `query`, its rows' place.
template <class T, int kChannels, int kGroups>
__device__ __forceinline__ void attend(const AttentionLaunch& launch, const CudaSequence& sequence, int head,
                                       int first_row, int last_row, std::uint32_t query,
                                       const Ring (&rings)[2]) {
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads - 1;
  const int warp = static_cast<int>(threadIdx.x) / 32 % 4, lane = threadIdx.x % 32;
  const int groups = first_row + kGroupRows < sequence.rows ? kGroups : 1;  // with rows
  const Ring &keys = rings[0], &values = rings[1];
  first_row += group * kGroupRows;
  query += group * kGroupRows * kTileRowBytes;
  if (group < groups) fetch_query<T, kChannels>(launch, sequence, head, first_row, query);
  commit_copies();
  const int length = *sequence.length;
  const int limit = visible_keys(launch, sequence, length, last_row);
  if (group >= groups) {  // lets the tiles pass
    for (int first = 0, stage = 0, turn = 0; first < limit; first += kKeys) {
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        await(rings[s].full + 8 * stage, turn);
        if (lane == 0) arrive(rings[s].empty + 8 * stage);
      }
      if (++stage == kStages) {
        stage = 0;
        turn ^= 1;
      }
    }
    return;
  }

  Softmax softmax;
  softmax.bias = sequence.key_bias;
  softmax.scale = launch.scale;
  // Exponents are logits times a factor, which the maximum may be taken before only if it is above 0.
  softmax.plain = sequence.key_bias == nullptr && launch.scale > 0.0f;
  softmax.factor = softmax.plain ? launch.scale : 1.0f;
  int row[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    row[r] = first_row + warp * 16 + lane / 4 + 8 * r;
    softmax.seen[r] = visible_keys(launch, sequence, length, row[r]);
    softmax.maximum[r] = -INFINITY;
    softmax.total[r] = 0.0f;
  }
  softmax.limit = limit;
  // Keys that even the first row of the group sees need no mask.
  softmax.clear = min(limit, visible_keys(launch, sequence, length, first_row));
  float sums[kChannels / 2] = {};

  // Two groups issue their products by turns, so that one takes exponentials while the products of the
  // other run. Group 0 begins; after the last turn of group 1 nobody waits.
  const int other = 1 - group;
  const bool ordered = kGroups == 2 && groups == kGroups;
  constexpr int kQueryThere = 1, kTurn = 3;  // numbers of barriers, one for each group
  const auto my_turn = [&] {
    if (ordered) meet(kTurn + group, kGroups * kGroupThreads);
  };
  const auto your_turn = [&](bool last) {
    if (ordered && !(group == 1 && last)) pass_by(kTurn + other, kGroups * kGroupThreads);
  };

  wait_copies<0>();
  if (limit > 0) {
    show_shared_to_tensor_cores();
    meet(kQueryThere + group, kGroupThreads);
    if (group == 1) your_turn(false);

    const std::uint64_t rows = tile_descriptor(query, kTileBytes);
    const auto tiles = [](const Ring& ring, int stage) {
      return tile_descriptor(ring.tiles + stage * kTilesBytes<kChannels>, kTileBytes);
    };
    float logit[kKeys / 2];
    std::uint32_t weights[kKeys / 16][4];
    int stage = 0, turn = 0;
    await(keys.full, turn);
    my_turn();
    order_registers();
    multiply_keys<T, kChannels>(logit, rows, tiles(keys, stage));
    commit_products();
    your_turn(limit <= kKeys);
    wait_products<0>();
    for (int first = 0;;) {
      pin(logit);
      if (lane == 0) arrive(keys.empty + 8 * stage);
      softmax.take(logit, first, lane);
      // The totals are asked for only so that the exponentials are taken before the wait for the values of
      // the step before, in whose time they cost nothing.
      const bool fades = softmax.fade[0] != 1.0f || softmax.fade[1] != 1.0f ||
                         !(softmax.total[0] + softmax.total[1] >= 0.0f);
      if (__any_sync(0xFFFFFFFFu, fades)) {
        wait_products<0>();
        pin(sums);
#pragma unroll
        for (int i = 0; i < kChannels / 2; ++i) sums[i] *= softmax.fade[i / 2 % 2];
      } else {
        wait_products<0>();
        pin(sums);
      }
      if (lane == 0 && first > 0) arrive(values.empty + 8 * (stage == 0 ? kStages - 1 : stage - 1));
      pack<T>(logit, weights);
      first += kKeys;
      if (first >= limit) break;

      const int last_stage = stage, last_turn = turn;
      if (++stage == kStages) {
        stage = 0;
        turn ^= 1;
      }
      await(keys.full + 8 * stage, turn);
      my_turn();
      order_registers();
      multiply_keys<T, kChannels>(logit, rows, tiles(keys, stage));
      commit_products();
      await(values.full + 8 * last_stage, last_turn);
      order_registers();
      weigh_values<T, kChannels>(sums, weights, tiles(values, last_stage));
      commit_products();
      your_turn(first + kKeys >= limit);
      wait_products<1>();
    }
    await(values.full + 8 * stage, turn);
    order_registers();
    weigh_values<T, kChannels>(sums, weights, tiles(values, stage));
    commit_products();
    wait_products<0>();
    pin(sums);
  }

  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float total = sum_of_quad(softmax.total[r]);
    inverse[r] = total == 0.0f ? 0.0f : __fdividef(1.0f, total);
    if (launch.lse != nullptr && lane % 4 == 0 && row[r] < sequence.rows) {
      constexpr float kLn2 = 0.693147180559945309f;
      launch.lse[head * launch.lse_stride + sequence.first_row + row[r]] =
          total == 0.0f ? -INFINITY : (softmax.maximum[r] + __log2f(total)) * kLn2;
    }
  }
  meet(kQueryThere + group, kGroupThreads);  // nobody reads the query any more
  store_rows<T, kChannels>(launch, sequence, head, first_row + warp * 16, sums, inverse,
                           query + warp * 16 * kTileRowBytes);
}

#endif  // FOVEA_WGMMA

/// Which rows of which head a block takes. Heads whose keys and values the cache holds together come
/// one after another, of each the rows that see most first.
struct Order {
  std::int32_t heads_together;
};

template <int kGroups>
constexpr int kThreads = kGroupThreads * (1 + kGroups);
#if defined(FOVEA_WGMMA) || !defined(__CUDA_ARCH__)
template <int kGroups>
constexpr int kBound = kThreads<kGroups>;
#else
template <int kGroups>
constexpr int kBound = 32;  // tells the host that this code does nothing
#endif

template <class T, int kChannels, int kGroups>
__global__ void __launch_bounds__(kBound<kGroups>, 1)
    hopper_attention_kernel(const __grid_constant__ AttentionLaunch launch, Order order) {
#ifdef FOVEA_WGMMA
  let_next_prepare();
  constexpr int kRows = kGroups * kGroupRows;
  const CudaSequence& sequence = launch.sequence[blockIdx.z];
  const int row_blocks = (launch.most_rows + kRows - 1) / kRows;
  const int before = static_cast<int>(blockIdx.x) / (order.heads_together * row_blocks) * order.heads_together;
  const int within = static_cast<int>(blockIdx.x) - before * row_blocks;
  const int together = min(order.heads_together, launch.heads - before);
  const int head = before + within % together, kv_head = head / (launch.heads / launch.kv_heads);
  const int first_row = (row_blocks - 1 - within / together) * kRows;
  if (first_row >= sequence.rows) return;

  extern __shared__ uint4 shared16[];
  __shared__ std::uint64_t barriers[4 * kStages];
  const std::uint32_t query =
      (shared_address(shared16) + kTileRowGroupBytes - 1) / kTileRowGroupBytes * kTileRowGroupBytes;
  Ring rings[2];
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    rings[s].tiles = query + (1 + s * kStages) * kTilesBytes<kChannels>;
    rings[s].full = shared_address(barriers) + 8 * (2 * s * kStages);
    rings[s].empty = rings[s].full + 8 * kStages;
  }
  if (threadIdx.x == 0) {
    for (int s = 0; s < 2; ++s) {
      for (int stage = 0; stage < kStages; ++stage) {
        start_barrier(rings[s].full + 8 * stage, kGroupThreads / 32);
        start_barrier(rings[s].empty + 8 * stage, kGroups * kGroupThreads / 32);
      }
    }
  }
  __syncthreads();

  wait_for_previous();
  const int last_row = min(first_row + kRows, sequence.rows) - 1;
  if (threadIdx.x < kGroupThreads) {
    if constexpr (kGroups > 1) give_registers_back<kLoaderRegisters>();
    Side<T> sides[2] = {
        {sequence.key_pages, kv_head * sequence.key_head_stride, sequence.key_token_stride, {}},
        {sequence.value_pages, kv_head * sequence.value_head_stride, sequence.value_token_stride, {}}};
    const int limit = visible_keys(launch, sequence, *sequence.length, last_row);
    load_all<T, kChannels>(sequence, sides, rings, limit);
  } else {
    if constexpr (kGroups > 1) take_registers<kGroupRegisters>();
    attend<T, kChannels, kGroups>(launch, sequence, head, first_row, last_row, query, rings);
  }
#endif
}

template <class T, int kChannels, int kGroups>
Status launch_groups(const AttentionLaunch& launch, cudaStream_t stream, bool* launched) {
  const auto kernel = hopper_attention_kernel<T, kChannels, kGroups>;
  cudaFuncAttributes attributes{};
  FOVEA_CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
  *launched = attributes.maxThreadsPerBlock >= kThreads<kGroups>;
  if (!*launched) return {};
  constexpr int bytes = kSharedBytes<kChannels>;
  FOVEA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  // As many as half of the cache holds, taking sequences to be about as long as their rows are many.
  constexpr std::int64_t kCacheBytes = std::int64_t{16} << 20;
  const std::int64_t head_bytes = std::int64_t{launch.most_rows} * kChannels * 4;
  const auto together =
      static_cast<std::int32_t>(std::clamp<std::int64_t>(kCacheBytes / head_bytes, 1, launch.heads));
  constexpr int kRows = kGroups * kGroupRows;
  const dim3 grid(static_cast<unsigned>((launch.most_rows + kRows - 1) / kRows * launch.heads), 1,
                  static_cast<unsigned>(launch.sequences));
  return launch_early(stream, "Hopper attention", kernel, grid, kThreads<kGroups>, bytes, launch,
                      Order{together});
}

template <class T, int kChannels>
Status launch_channels(const AttentionLaunch& launch, int multiprocessors, cudaStream_t stream,
                       bool* launched) {
  // A row's result is the same either way.
  const std::int64_t small_blocks =
      std::int64_t{(launch.most_rows + kGroupRows - 1) / kGroupRows} * launch.heads * launch.sequences;
  return small_blocks <= multiprocessors ? launch_groups<T, kChannels, 1>(launch, stream, launched)
                                         : launch_groups<T, kChannels, kMostGroups>(launch, stream, launched);
}

template <class T>
Status launch_type(const AttentionLaunch& launch, int multiprocessors, cudaStream_t stream, bool* launched) {
  switch (launch.head_dim) {
    case 64: return launch_channels<T, 64>(launch, multiprocessors, stream, launched);
    case 80: return launch_channels<T, 80>(launch, multiprocessors, stream, launched);
    case 96: return launch_channels<T, 96>(launch, multiprocessors, stream, launched);
    case 128: return launch_channels<T, 128>(launch, multiprocessors, stream, launched);
    default: *launched = false; return {};
  }
}

}  // namespace

Status launch_hopper_attention(const AttentionLaunch& launch, DType type, int multiprocessors,
                               cudaStream_t stream, bool* launched) {
  return type == DType::bf16 ? launch_type<__nv_bfloat16>(launch, multiprocessors, stream, launched)
                             : launch_type<__half>(launch, multiprocessors, stream, launched);
}

}  // namespace fovea
