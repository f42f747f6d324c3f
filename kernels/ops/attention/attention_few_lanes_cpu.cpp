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

/// s[lane, i] = query[lane] . key[i] for kLanes lanes and kKeys keys.
template <class T, int kLanes, int kKeys>
HWY_INLINE void dot_keys(const std::byte* const* keys, const float* query, std::int64_t channels,
                         float* s) {
  const D d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  V sum[kLanes][kKeys];
  for (int l = 0; l < kLanes; ++l) {
    for (int i = 0; i < kKeys; ++i) sum[l][i] = hn::Zero(d);
  }
  const T* key[kKeys];
  for (int i = 0; i < kKeys; ++i) key[i] = reinterpret_cast<const T*>(keys[i]);
  std::int64_t c = 0;
  for (; c + width <= channels; c += width) {
    V q[kLanes];
    for (int l = 0; l < kLanes; ++l) q[l] = hn::LoadU(d, query + l * channels + c);
    for (int i = 0; i < kKeys; ++i) {
      const V k = load_as_f32(d, key[i] + c);
      for (int l = 0; l < kLanes; ++l) sum[l][i] = hn::MulAdd(q[l], k, sum[l][i]);
    }
  }
  for (int l = 0; l < kLanes; ++l) {
    for (int i = 0; i < kKeys; ++i) {
      float dot = hn::GetLane(hn::SumOfLanes(d, sum[l][i]));
      for (std::int64_t tail = c; tail < channels; ++tail) {
        dot += query[l * channels + tail] * scalar_f32(key[i][tail]);
      }
      s[l * kKeyBlock + i] = dot;
    }
  }
}

/// sums[lane, c ...] = sums * shrink[lane] + sum over i of p[lane, i] * value[i][c ...], for kLanes
/// lanes and kVectors vectors of channels.
template <class T, int kLanes, int kVectors>
HWY_INLINE void add_values(const std::byte* const* values, std::int64_t count, const float* p,
                           const float* shrink, std::int64_t channels, std::int64_t c,
                           float* sums) {
  const D d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  V sum[kLanes][kVectors];
  for (int l = 0; l < kLanes; ++l) {
    const V factor = hn::Set(d, shrink[l]);
    for (int v = 0; v < kVectors; ++v) {
      sum[l][v] = hn::Mul(hn::LoadU(d, sums + l * channels + c + v * width), factor);
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const T* from = reinterpret_cast<const T*>(values[i]) + c;
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
    const V p = exp2_nonpositive(d, hn::Sub(hn::Load(d, s + i), shift));
    hn::Store(p, d, s + i);
    totals = hn::Add(totals, p);
  }
  const V before = hn::Set(d, lanes.maximum[lane]);
  const float factor = hn::GetLane(exp2_nonpositive(d, hn::Sub(before, shift)));
  lanes.shrink[lane] = factor;
  lanes.maximum[lane] = maximum;
  lanes.total[lane] = lanes.total[lane] * factor + hn::GetLane(hn::SumOfLanes(d, totals));
}

template <class T, int kLanes>
HWY_INLINE void dot_block(const Lanes& lanes, std::int64_t lane, const std::byte* const* keys,
                          std::int64_t count) {
  constexpr int kKeys = 8 / kLanes;  // eight sums hide the latency of FMA
  const float* query = lanes.query + lane * lanes.channels;
  float* s = lanes.s + lane * kKeyBlock;
  std::int64_t i = 0;
  for (; i + kKeys <= count; i += kKeys) {
    dot_keys<T, kLanes, kKeys>(keys + i, query, lanes.channels, s + i);
  }
  for (; i < count; ++i) dot_keys<T, kLanes, 1>(keys + i, query, lanes.channels, s + i);
}

template <class T, int kLanes>
HWY_INLINE void value_block(const Lanes& lanes, std::int64_t lane, const std::byte* const* values,
                            std::int64_t count) {
  constexpr int kMost = 8 / kLanes;
  const auto width = static_cast<std::int64_t>(hn::Lanes(D()));
  const std::int64_t channels = lanes.channels;
  const float* p = lanes.s + lane * kKeyBlock;
  const float* shrink = lanes.shrink + lane;
  float* sums = lanes.sums + lane * channels;
  std::int64_t c = 0;
  for (; c + kMost * width <= channels; c += kMost * width) {
    add_values<T, kLanes, kMost>(values, count, p, shrink, channels, c, sums);
  }
  for (; c + 2 * width <= channels; c += 2 * width) {
    add_values<T, kLanes, 2>(values, count, p, shrink, channels, c, sums);
  }
  for (; c + width <= channels; c += width) {
    add_values<T, kLanes, 1>(values, count, p, shrink, channels, c, sums);
  }
  for (; c < channels; ++c) {
    for (int l = 0; l < kLanes; ++l) {
      float sum = sums[l * channels + c] * shrink[l];
      for (std::int64_t i = 0; i < count; ++i) {
        sum += p[l * kKeyBlock + i] * scalar_f32(reinterpret_cast<const T*>(values[i])[c]);
      }
      sums[l * channels + c] = sum;
    }
  }
}

template <class T>
HWY_NOINLINE void attend_block(const Lanes& lanes, const std::byte* const* keys,
                               const std::byte* const* values, const float* bias,
                               std::int64_t first_key, std::int64_t count) {
  std::int64_t lane = 0;
  for (; lane + 4 <= lanes.count; lane += 4) dot_block<T, 4>(lanes, lane, keys, count);
  for (; lane + 2 <= lanes.count; lane += 2) dot_block<T, 2>(lanes, lane, keys, count);
  for (; lane < lanes.count; ++lane) dot_block<T, 1>(lanes, lane, keys, count);

  for (lane = 0; lane < lanes.count; ++lane) {
    if (bias != nullptr) {
      float* s = lanes.s + lane * kKeyBlock;
      for (std::int64_t i = 0; i < count; ++i) s[i] += static_cast<float>(bias[i] * kLog2E);
    }
    soften(lanes, lane, lanes.visible[lane] - first_key, count);
  }

  lane = 0;
  for (; lane + 4 <= lanes.count; lane += 4) value_block<T, 4>(lanes, lane, values, count);
  for (; lane + 2 <= lanes.count; lane += 2) value_block<T, 2>(lanes, lane, values, count);
  for (; lane < lanes.count; ++lane) value_block<T, 1>(lanes, lane, values, count);
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

  const PageLayout key_pages = key_layout(kv, task.kv_head);
  const PageLayout value_pages = value_layout(kv, task.kv_head);
  const std::int64_t first = task.split * plan.split_tokens;
  const std::int64_t end = std::min(most_visible, first + plan.split_tokens);
  for (std::int64_t key = first; key < end; key += kKeyBlock) {
    const std::int64_t count = std::min(kKeyBlock, end - key);
    const std::byte* keys[kKeyBlock];
    const std::byte* values[kKeyBlock];
    locate_tokens(key_pages, key, count, keys);
    locate_tokens(value_pages, key, count, values);
    const float* bias = plan.key_bias == nullptr ? nullptr : plan.key_bias + key;
    if (kv.dtype == DType::f32) {
      attend_block<float>(lanes, keys, values, bias, key, count);
    } else {
      attend_block<bf16>(lanes, keys, values, bias, key, count);
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
