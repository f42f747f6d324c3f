// Attention of one to a few query lanes over many keys (decoding): the time goes into reading keys
// and values, so that each is loaded once, in order, and widened in registers. Vectors run across
// channels.

#include "kernels/ops/attention/attention_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/attention/attention_few_lanes_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/ops/attention/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {

/// All lanes of a task. Rows of s lie kKeyBlock apart, rows of query and sums `channels`.
struct Lanes {
  std::int64_t count, channels;
  float* query;           // [count, channels], scaled
  float* sums;            // [count, channels]
  float* s;               // [count, kKeyBlock]
  float* maximum;         // [count]
  float* total;           // [count]
  float* shrink;          // [count]
  std::int64_t* visible;  // [count]
};

/// sums[lane, c ...] = sums * shrink[lane] + sum over i of p[lane, i] * value[i][c ...], for kLanes
/// lanes and kVectors vectors of channels. Meanwhile `soon` of the next keys come nearer.
template <class T, int kLanes, int kVectors>
HWY_INLINE void add_values(const TokenBlock& block, std::int64_t soon, const float* p,
                           const float* shrink, std::int64_t channels, std::int64_t c,
                           float* sums) {
  const D d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t row_bytes = channels * static_cast<std::int64_t>(sizeof(T));
  V sum[kLanes][kVectors];
  for (int l = 0; l < kLanes; ++l) {
    const V factor = hn::Set(d, shrink[l]);
    for (int v = 0; v < kVectors; ++v) {
      sum[l][v] = hn::Mul(hn::LoadU(d, sums + l * channels + c + v * width), factor);
    }
  }
  for (std::int64_t i = 0; i < block.count; ++i) {
    if (i < soon) prefetch_row(block.next_keys[i], row_bytes);
    const T* from = reinterpret_cast<const T*>(block.values[i]) + c;
    V weight[kLanes];
    for (int l = 0; l < kLanes; ++l) weight[l] = hn::Set(d, p[l * kKeyBlock + i]);
    for (int v = 0; v < kVectors; ++v) {
      const V value = load_as_f32(d, from + v * width);
      for (int l = 0; l < kLanes; ++l) sum[l][v] = hn::MulAdd(weight[l], value, sum[l][v]);
    }
  }
  for (int l = 0; l < kLanes; ++l) {
    for (int v = 0; v < kVectors; ++v) {
      hn::StoreU(sum[l][v], d, sums + l * channels + c + v * width);
    }
  }
}

/// Logits to exponentials for one lane; `seen` of the `count` keys are visible to it.
HWY_INLINE void soften(const Lanes& lanes, std::int64_t lane, std::int64_t seen,
                       std::int64_t count) {
  const D d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  float* s = lanes.s + lane * kKeyBlock;
  for (std::int64_t i = std::max<std::int64_t>(seen, 0); i < count; ++i) s[i] = kMinusInfinity;
  const std::int64_t padded = (count + width - 1) / width * width;
  for (std::int64_t i = count; i < padded; ++i) s[i] = kMinusInfinity;

  V maxima = hn::Set(d, lanes.maximum[lane]);
  for (std::int64_t i = 0; i < padded; i += width) maxima = hn::Max(maxima, hn::Load(d, s + i));
  const float maximum = hn::GetLane(hn::MaxOfLanes(d, maxima));
  // A lane that has seen no key yet has no maximum to subtract.
  const V shift = hn::Set(d, maximum == kMinusInfinity ? 0.0f : maximum);
  V totals = hn::Zero(d);
  for (std::int64_t i = 0; i < padded; i += width) {
    const V p = exp2_lanes(d, hn::Sub(hn::Load(d, s + i), shift));
    hn::Store(p, d, s + i);
    totals = hn::Add(totals, p);
  }
  const V before = hn::Set(d, lanes.maximum[lane]);
  const float factor = hn::GetLane(exp2_lanes(d, hn::Sub(before, shift)));
  lanes.shrink[lane] = factor;
  lanes.maximum[lane] = maximum;
  lanes.total[lane] = lanes.total[lane] * factor + hn::GetLane(hn::SumOfLanes(d, totals));
}

/// Logits of kLanes lanes. Meanwhile the values of the same tokens come nearer.
template <class T, int kLanes>
HWY_INLINE void dot_block(const Lanes& lanes, std::int64_t lane, const TokenBlock& block) {
  const std::int64_t row_bytes = lanes.channels * static_cast<std::int64_t>(sizeof(T));
  constexpr int kKeys = 8 / kLanes;  // eight sums hide the latency of FMA
  const float* query = lanes.query + lane * lanes.channels;
  float* s = lanes.s + lane * kKeyBlock;
  std::int64_t i = 0;
  for (; i + kKeys <= block.count; i += kKeys) {
    if (lane == 0) {
      for (int j = 0; j < kKeys; ++j) prefetch_row(block.values[i + j], row_bytes);
    }
    dot_keys<T, kLanes, kKeys>(block.keys + i, query, lanes.channels, lanes.channels, s + i,
                               kKeyBlock);
  }
  for (; i < block.count; ++i)
    dot_keys<T, kLanes, 1>(block.keys + i, query, lanes.channels, lanes.channels, s + i, kKeyBlock);
}

template <class T, int kLanes>
HWY_INLINE void value_block(const Lanes& lanes, std::int64_t lane, const TokenBlock& block) {
  constexpr int kMost = 8 / kLanes;
  const auto width = static_cast<std::int64_t>(hn::Lanes(D()));
  const std::int64_t channels = lanes.channels;
  const float* p = lanes.s + lane * kKeyBlock;
  const float* shrink = lanes.shrink + lane;
  float* sums = lanes.sums + lane * channels;
  std::int64_t soon = lane == 0 ? block.next_count : 0;
  std::int64_t c = 0;
  for (; c + kMost * width <= channels; c += kMost * width, soon = 0) {
    add_values<T, kLanes, kMost>(block, soon, p, shrink, channels, c, sums);
  }
  for (; c + 2 * width <= channels; c += 2 * width, soon = 0) {
    add_values<T, kLanes, 2>(block, soon, p, shrink, channels, c, sums);
  }
  for (; c + width <= channels; c += width, soon = 0) {
    add_values<T, kLanes, 1>(block, soon, p, shrink, channels, c, sums);
  }
  for (; c < channels; ++c) {
    for (int l = 0; l < kLanes; ++l) {
      float sum = sums[l * channels + c] * shrink[l];
      for (std::int64_t i = 0; i < block.count; ++i) {
        sum += p[l * kKeyBlock + i] * scalar_f32(reinterpret_cast<const T*>(block.values[i])[c]);
      }
      sums[l * channels + c] = sum;
    }
  }
}

template <class T>
HWY_NOINLINE void attend_block(const Lanes& lanes, const TokenBlock& block, const float* bias,
                               std::int64_t first_key) {
  std::int64_t lane = 0;
  for (; lane + 4 <= lanes.count; lane += 4) dot_block<T, 4>(lanes, lane, block);
  for (; lane + 2 <= lanes.count; lane += 2) dot_block<T, 2>(lanes, lane, block);
  for (; lane < lanes.count; ++lane) dot_block<T, 1>(lanes, lane, block);

  for (lane = 0; lane < lanes.count; ++lane) {
    if (bias != nullptr) {
      float* s = lanes.s + lane * kKeyBlock;
      for (std::int64_t i = 0; i < block.count; ++i) s[i] += static_cast<float>(bias[i] * kLog2E);
    }
    soften(lanes, lane, lanes.visible[lane] - first_key, block.count);
  }

  lane = 0;
  for (; lane + 4 <= lanes.count; lane += 4) value_block<T, 4>(lanes, lane, block);
  for (; lane + 2 <= lanes.count; lane += 2) value_block<T, 2>(lanes, lane, block);
  for (; lane < lanes.count; ++lane) value_block<T, 1>(lanes, lane, block);
}

std::int64_t most_lanes() {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(hn::Lanes(D())) / 2);
}

/// Scratch of one task, in the order in which run_task() hands it out: s first, for its alignment.
std::int64_t scratch_floats(std::int64_t lanes, std::int64_t head_dim) {
  return lanes * (kKeyBlock + 2 + 2 * head_dim + 3);
}

void run_task(const AttentionTask& task, float* scratch) {
  const SequencePlan& plan = task.plan;
  const KvView& kv = *plan.kv;
  Lanes lanes;
  lanes.count = plan.lanes;
  lanes.channels = kv.head_dim;
  lanes.s = scratch;
  lanes.visible = reinterpret_cast<std::int64_t*>(lanes.s + lanes.count * kKeyBlock);
  lanes.query = lanes.s + lanes.count * (kKeyBlock + 2);
  lanes.sums = lanes.query + lanes.count * lanes.channels;
  lanes.maximum = lanes.sums + lanes.count * lanes.channels;
  lanes.total = lanes.maximum + lanes.count;
  lanes.shrink = lanes.total + lanes.count;

  const double scale = task.args.scale * kLog2E;
  std::int64_t most_visible = 0;
  for (std::int64_t lane = 0; lane < lanes.count; ++lane) {
    const float* from = lane_channels(task.args.query, task, lane);
    for (std::int64_t c = 0; c < lanes.channels; ++c) {
      lanes.query[lane * lanes.channels + c] = static_cast<float>(from[c] * scale);
    }
    lanes.visible[lane] = visible_keys(task.args.mask, plan, lane);
    most_visible = std::max(most_visible, lanes.visible[lane]);
  }
  std::fill_n(lanes.sums, lanes.count * lanes.channels, 0.0f);
  std::fill_n(lanes.maximum, lanes.count, kMinusInfinity);
  std::fill_n(lanes.total, lanes.count, 0.0f);

  const std::int64_t first = task.split * plan.split_tokens;
  const std::int64_t end = std::min(most_visible, first + plan.split_tokens);
  TokenBlock block;
  for (std::int64_t key = first; key < end; key += kKeyBlock) {
    locate_block(task, key, end, &block);
    const float* bias = plan.key_bias == nullptr ? nullptr : plan.key_bias + key;
    if (kv.dtype == DType::f32) {
      attend_block<float>(lanes, block, bias, key);
    } else {
      attend_block<bf16>(lanes, block, bias, key);
    }
  }
  for (std::int64_t lane = 0; lane < lanes.count; ++lane) {
    finish_lane(task, lane, lanes.sums + lane * lanes.channels, 1, lanes.maximum[lane],
                lanes.total[lane]);
  }
}

FewLanesKernel kernel() {
  return {most_lanes(), scratch_floats, run_task};
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {

HWY_EXPORT(kernel);

FewLanesKernel few_lanes_kernel() {
  return HWY_DYNAMIC_DISPATCH(kernel)();
}

}  // namespace fovea
#endif  // HWY_ONCE
