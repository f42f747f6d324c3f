// Flash-style attention (arXiv 2205.14135) with query lanes in the SIMD lanes. Queries of a tile
// are transposed once; then S^T[key, lane] and O^T[channel, lane] are sums of broadcast * vector,
// for which keys and values are read as they lie, and the softmax needs no horizontal operation.

#include "kernels/ops/attention/attention_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/attention/attention_many_lanes_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/ops/attention/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {

// Three vectors of lanes by four keys (or channels) are twelve sums, enough to keep two FMA units
// of latency five busy, and with their operands just fit the sixteen registers of AVX2.
constexpr std::int64_t kTileVectors = 3;
// Tiles of one task. They share the widening of a block of keys and values; more would push their
// transposed queries and outputs out of the second-level cache.
constexpr std::int64_t kTiles = 4;

HWY_INLINE std::int64_t vector_lanes() {
  return static_cast<std::int64_t>(hn::Lanes(D()));
}

/// Up to kTileVectors vectors of lanes. Arrays of [n, width] floats, width a multiple of a vector.
struct Tile {
  std::int64_t first_lane, lanes, width;
  std::int64_t least_visible, most_visible;  // keys, over the tile's lanes
  float* query;                              // [head_dim, width], scaled
  float* sums;                               // [head_dim, width]
  float* maximum;                            // [width]
  float* total;                              // [width]
  std::int32_t* visible;                     // [width]
};

/// Calls use(j, broadcast) for channels c + j, j < kChannels, of one float32 row.
template <int kChannels, class Use>
HWY_INLINE void broadcast_channels(const float* row, const Use& use) {
  for (int j = 0; j < kChannels; ++j) use(j, hn::Set(D(), row[j]));
}
/// The same for bfloat16, two at a time: a pair in one register holds the even channel in its low
/// half and the odd one in its high half.
template <int kChannels, class Use>
HWY_INLINE void broadcast_channels(const bf16* row, const Use& use) {
  const D d;
  const hn::RebindToUnsigned<D> bits;
  if constexpr (kChannels == 1) {
    use(0, hn::Set(d, scalar_f32(row[0])));
  } else {
    const auto high = hn::Set(bits, 0xFFFF0000u);
    for (int j = 0; j < kChannels; j += 2) {
      std::uint32_t both;
      std::memcpy(&both, row + j, sizeof(both));
      const auto pair = hn::Set(bits, both);
      use(j, hn::BitCast(d, hn::ShiftLeft<16>(pair)));
      use(j + 1, hn::BitCast(d, hn::And(pair, high)));
    }
  }
}

/// s[i, lane] += sum over kChannels channels, from c on, of key[i][c] * query[c, lane].
template <class T, int kChannels, int kVectors, int kKeys>
HWY_INLINE void score_channels(const T* const* keys, const float* query, std::int64_t c,
                               V (&sum)[kKeys][kVectors]) {
  const D d;
  const std::int64_t lanes = vector_lanes();
  const std::int64_t width = kVectors * lanes;
  V q[kChannels][kVectors];
  for (int j = 0; j < kChannels; ++j) {
    for (int v = 0; v < kVectors; ++v) q[j][v] = hn::Load(d, query + (c + j) * width + v * lanes);
  }
  for (int i = 0; i < kKeys; ++i) {
    broadcast_channels<kChannels>(keys[i] + c, [&](int j, V key) HWY_ATTR {
      for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(key, q[j][v], sum[i][v]);
    });
  }
}

/// s[i, lane] = sum over c of key[i][c] * query[c, lane] + bias[i], for kKeys keys of type T.
template <class T, int kVectors, int kKeys>
HWY_INLINE void score_keys(const std::byte* const* keys, const float* bias, const float* query,
                           std::int64_t channels, float* s) {
  const D d;
  const std::int64_t lanes = vector_lanes();
  const std::int64_t width = kVectors * lanes;
  const T* key[kKeys];
  V sum[kKeys][kVectors];
  for (int i = 0; i < kKeys; ++i) {
    key[i] = reinterpret_cast<const T*>(keys[i]);
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = bias == nullptr ? hn::Zero(d) : hn::Set(d, static_cast<float>(bias[i] * kLog2E));
    }
  }
  constexpr int kChannels = sizeof(T) == sizeof(float) ? 1 : 2;
  std::int64_t c = 0;
  for (; c + kChannels <= channels; c += kChannels) {
    score_channels<T, kChannels, kVectors, kKeys>(key, query, c, sum);
  }
  for (; c < channels; ++c) score_channels<T, 1, kVectors, kKeys>(key, query, c, sum);
  for (int i = 0; i < kKeys; ++i) {
    for (int v = 0; v < kVectors; ++v) hn::Store(sum[i][v], d, s + i * width + v * lanes);
  }
}

/// sums[c, lane] = sums[c, lane] * shrink[lane] + sum over i of value[i][c] * p[i, lane], for
/// kChannels channels from c on. Meanwhile `soon` of the next keys come nearer.
template <class T, int kVectors, int kChannels>
HWY_INLINE void add_values(const TokenBlock& block, std::int64_t count, std::int64_t soon,
                           std::int64_t row_bytes, const float* p, std::int64_t c,
                           const float* shrink, float* sums) {
  const D d;
  const std::int64_t lanes = vector_lanes();
  const std::int64_t width = kVectors * lanes;
  V sum[kChannels][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const V factor = hn::Load(d, shrink + v * lanes);
    for (int j = 0; j < kChannels; ++j) {
      sum[j][v] = hn::Mul(hn::Load(d, sums + (c + j) * width + v * lanes), factor);
    }
  }
  for (std::int64_t i = 0; i < count; ++i, p += width) {
    if (i < soon) prefetch_row(block.next_keys[i], row_bytes);
    V weight[kVectors];
    for (int v = 0; v < kVectors; ++v) weight[v] = hn::Load(d, p + v * lanes);
    const T* value = reinterpret_cast<const T*>(block.values[i]) + c;
    broadcast_channels<kChannels>(value, [&](int j, V channel) HWY_ATTR {
      for (int v = 0; v < kVectors; ++v) sum[j][v] = hn::MulAdd(channel, weight[v], sum[j][v]);
    });
  }
  for (int j = 0; j < kChannels; ++j) {
    for (int v = 0; v < kVectors; ++v) {
      hn::Store(sum[j][v], d, sums + (c + j) * width + v * lanes);
    }
  }
}

/// Online softmax: turns s [count, width] into exponentials against the new maximum, updates
/// maximum and total, and leaves in `shrink` the factor for what was summed before.
template <int kVectors>
HWY_INLINE void soften(const Tile& tile, std::int64_t first_key, std::int64_t count, float* s,
                       float* shrink) {
  const D d;
  const hn::RebindToSigned<D> whole;
  const std::int64_t lanes = vector_lanes();
  const std::int64_t width = kVectors * lanes;
  const V nothing = hn::Set(d, kMinusInfinity);
  const bool masked = first_key + count > tile.least_visible;
  for (int v = 0; v < kVectors; ++v) {
    float* column = s + v * lanes;
    const V before = hn::Load(d, tile.maximum + v * lanes);
    V maximum = before;
    if (masked) {
      const auto visible = hn::Load(whole, tile.visible + v * lanes);
      for (std::int64_t i = 0; i < count; ++i) {
        const auto key = hn::Set(whole, static_cast<std::int32_t>(first_key + i));
        const auto seen = hn::RebindMask(d, hn::Gt(visible, key));
        const V logit = hn::IfThenElse(seen, hn::Load(d, column + i * width), nothing);
        hn::Store(logit, d, column + i * width);
        maximum = hn::Max(maximum, logit);
      }
    } else {
      for (std::int64_t i = 0; i < count; ++i) {
        maximum = hn::Max(maximum, hn::Load(d, column + i * width));
      }
    }
    // A lane that has seen no key yet has no maximum to subtract.
    const V shift = hn::IfThenElse(hn::Eq(maximum, nothing), hn::Zero(d), maximum);
    const V factor = exp2_lanes(d, hn::Sub(before, shift));
    V total = hn::Mul(hn::Load(d, tile.total + v * lanes), factor);
    for (std::int64_t i = 0; i < count; ++i) {
      const V p = exp2_lanes(d, hn::Sub(hn::Load(d, column + i * width), shift));
      hn::Store(p, d, column + i * width);
      total = hn::Add(total, p);
    }
    hn::Store(maximum, d, tile.maximum + v * lanes);
    hn::Store(total, d, tile.total + v * lanes);
    hn::Store(factor, d, shrink + v * lanes);
  }
}

/// One tile over one block of rows of type T: `count` of its tokens, the first one being first_key.
/// Streamed blocks come straight from the pages: the next rows are asked for in time.
template <class T, int kVectors>
HWY_NOINLINE void attend_tile(const Tile& tile, const TokenBlock& block, bool streamed,
                              const float* bias, std::int64_t first_key, std::int64_t count,
                              std::int64_t channels, float* s) {
  constexpr int kKeys = kVectors == 1 ? 8 : 4;
  const std::int64_t width = kVectors * vector_lanes();
  const std::int64_t row_bytes = channels * static_cast<std::int64_t>(sizeof(T));
  const auto bias_at = [bias](std::int64_t i) { return bias == nullptr ? nullptr : bias + i; };
  std::int64_t i = 0;
  for (; i + kKeys <= count; i += kKeys) {
    if (streamed) {
      for (int j = 0; j < kKeys; ++j) prefetch_row(block.values[i + j], row_bytes);
    }
    score_keys<T, kVectors, kKeys>(block.keys + i, bias_at(i), tile.query, channels, s + i * width);
  }
  for (; i < count; ++i) {
    score_keys<T, kVectors, 1>(block.keys + i, bias_at(i), tile.query, channels, s + i * width);
  }

  HWY_ALIGN float shrink[kTileVectors * HWY_MAX_BYTES / sizeof(float)];
  soften<kVectors>(tile, first_key, count, s, shrink);

  constexpr int kChannels = kKeys;
  std::int64_t soon = streamed ? block.next_count : 0;
  std::int64_t c = 0;
  for (; c + kChannels <= channels; c += kChannels, soon = 0) {
    add_values<T, kVectors, kChannels>(block, count, soon, row_bytes, s, c, shrink, tile.sums);
  }
  for (; c < channels; ++c) {
    add_values<T, kVectors, 1>(block, count, 0, row_bytes, s, c, shrink, tile.sums);
  }
}

HWY_INLINE void start_tile(const AttentionTask& task, Tile& tile) {
  const std::int64_t channels = task.args.query.shape[2];
  const double scale = task.args.scale * kLog2E;
  std::fill_n(tile.query, channels * tile.width, 0.0f);
  std::fill_n(tile.sums, channels * tile.width, 0.0f);
  std::fill_n(tile.maximum, tile.width, kMinusInfinity);
  std::fill_n(tile.total, tile.width, 0.0f);
  std::fill_n(tile.visible, tile.width, 0);
  tile.least_visible = task.plan.length;
  tile.most_visible = 0;
  for (std::int64_t lane = 0; lane < tile.lanes; ++lane) {
    const float* from = lane_channels(task.args.query, task, tile.first_lane + lane);
    for (std::int64_t c = 0; c < channels; ++c) {
      tile.query[c * tile.width + lane] = static_cast<float>(from[c] * scale);
    }
    const std::int64_t seen = visible_keys(task.args.mask, task.plan, tile.first_lane + lane);
    tile.visible[lane] = static_cast<std::int32_t>(seen);
    tile.least_visible = std::min(tile.least_visible, seen);
    tile.most_visible = std::max(tile.most_visible, seen);
  }
}

/// Replaces the rows by float32 copies.
HWY_INLINE void pack(DType dtype, std::int64_t count, std::int64_t channels, float* packed,
                     const std::byte** rows) {
  if (dtype == DType::f32) {
    pack_rows<float>(rows, count, channels, packed);
  } else {
    pack_rows<bf16>(rows, count, channels, packed);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    rows[i] = reinterpret_cast<const std::byte*>(packed + i * channels);
  }
}

std::int64_t block_lanes() {
  return kTiles * kTileVectors * vector_lanes();
}

/// Scratch of one task, in the order in which run_task() hands it out.
std::int64_t scratch_floats(std::int64_t head_dim) {
  const std::int64_t width = kTileVectors * vector_lanes();
  const std::int64_t per_tile = (2 * head_dim + 3) * width;
  return kTiles * per_tile + kKeyBlock * width + 2 * kKeyBlock * head_dim;
}

void run_task(const AttentionTask& task, float* scratch) {
  const SequencePlan& plan = task.plan;
  const KvView& kv = *plan.kv;
  const std::int64_t channels = kv.head_dim;
  const std::int64_t lanes = vector_lanes();

  Tile tiles[kTiles];
  std::int64_t tile_count = 0;
  std::int64_t lane = task.block * plan.block_lanes;
  const std::int64_t end_lane = std::min(plan.lanes, lane + plan.block_lanes);
  std::int64_t most_visible = 0;
  while (lane < end_lane) {
    Tile& tile = tiles[tile_count++];
    tile.first_lane = lane;
    tile.lanes = std::min(end_lane - lane, kTileVectors * lanes);
    tile.width = (tile.lanes + lanes - 1) / lanes * lanes;
    tile.query = scratch;
    tile.sums = tile.query + channels * tile.width;
    tile.maximum = tile.sums + channels * tile.width;
    tile.total = tile.maximum + tile.width;
    tile.visible = reinterpret_cast<std::int32_t*>(tile.total + tile.width);
    scratch = tile.total + 2 * tile.width;
    start_tile(task, tile);
    most_visible = std::max(most_visible, tile.most_visible);
    lane += tile.lanes;
  }
  float* s = scratch;
  float* packed_keys = s + kKeyBlock * kTileVectors * lanes;
  float* packed_values = packed_keys + kKeyBlock * channels;

  // One vector of lanes uses each row once, as it lies. Otherwise narrow elements are widened, and
  // rows that several tiles would each walk over with a wide stride are moved together.
  const bool narrow = kv.dtype != DType::f32;
  const bool streamed = tile_count == 1 && tiles[0].width == lanes;
  const bool pack_keys =
      !streamed && (narrow || (tile_count > 1 && kv.key_token_stride != channels));
  const bool pack_values =
      !streamed && (narrow || (tile_count > 1 && kv.value_token_stride != channels));
  const std::int64_t first = task.split * plan.split_tokens;
  const std::int64_t end = std::min(most_visible, first + plan.split_tokens);
  TokenBlock block;
  for (std::int64_t key = first; key < end; key += kKeyBlock) {
    locate_block(task, key, end, &block);
    if (pack_keys) pack(kv.dtype, block.count, channels, packed_keys, block.keys);
    if (pack_values) pack(kv.dtype, block.count, channels, packed_values, block.values);
    const float* bias = plan.key_bias == nullptr ? nullptr : plan.key_bias + key;
    for (std::int64_t t = 0; t < tile_count; ++t) {
      const Tile& tile = tiles[t];
      const std::int64_t seen = std::min(block.count, tile.most_visible - key);
      if (seen <= 0) continue;
      const auto attend = streamed && narrow        ? attend_tile<bf16, 1>
                          : tile.width == lanes     ? attend_tile<float, 1>
                          : tile.width == 2 * lanes ? attend_tile<float, 2>
                                                    : attend_tile<float, kTileVectors>;
      attend(tile, block, streamed, bias, key, seen, channels, s);
    }
  }
  for (std::int64_t t = 0; t < tile_count; ++t) {
    const Tile& tile = tiles[t];
    for (std::int64_t i = 0; i < tile.lanes; ++i) {
      finish_lane(task, tile.first_lane + i, tile.sums + i, tile.width, tile.maximum[i],
                  tile.total[i]);
    }
  }
}

ManyLanesKernel kernel() {
  return {block_lanes(), scratch_floats, run_task};
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {

HWY_EXPORT(kernel);

ManyLanesKernel many_lanes_kernel() {
  return HWY_DYNAMIC_DISPATCH(kernel)();
}

}  // namespace fovea
#endif  // HWY_ONCE
