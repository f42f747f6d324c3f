// Pieces that the attention kernels share, compiled once per instruction set (Highway).

// Include guard of Highway: this file is meant to be compiled once for each target.
#if defined(FOVEA_KERNELS_OPS_ATTENTION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef FOVEA_KERNELS_OPS_ATTENTION_INL_H
#undef FOVEA_KERNELS_OPS_ATTENTION_INL_H
#else
#define FOVEA_KERNELS_OPS_ATTENTION_INL_H
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/ops/common/exp-inl.h"
#include "kernels/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

HWY_INLINE V load_as_f32(D d, const float* from) {
  return hn::LoadU(d, from);
}
HWY_INLINE V load_as_f32(D d, const bf16* from) {
  const hn::Rebind<hwy::bfloat16_t, D> half;
  return hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::bfloat16_t*>(from)));
}
HWY_INLINE float scalar_f32(float value) {
  return value;
}
HWY_INLINE float scalar_f32(bf16 value) {
  const std::uint32_t bits = std::uint32_t{value.bits} << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

/// Asks for a row that will be needed soon. Keys and values are many short rows, which the
/// prefetchers of the hardware follow only partly.
HWY_INLINE void prefetch_row(const std::byte* row, std::int64_t bytes) {
  constexpr std::int64_t kLine = 64;
  for (std::int64_t at = 0; at < bytes; at += kLine) __builtin_prefetch(row + at);
}

/// s[lane, i] = query[lane] . key[i] for kLanes lanes, kKeys keys of type T and `channels`
/// channels. Rows of query lie query_stride apart, those of s s_stride.
template <class T, int kLanes, int kKeys>
HWY_INLINE void dot_keys(const std::byte* const* keys, const float* query,
                         std::int64_t query_stride, std::int64_t channels, float* s,
                         std::int64_t s_stride) {
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
    for (int l = 0; l < kLanes; ++l) q[l] = hn::LoadU(d, query + l * query_stride + c);
    for (int i = 0; i < kKeys; ++i) {
      const V k = load_as_f32(d, key[i] + c);
      for (int l = 0; l < kLanes; ++l) sum[l][i] = hn::MulAdd(q[l], k, sum[l][i]);
    }
  }
  for (int l = 0; l < kLanes; ++l) {
    for (int i = 0; i < kKeys; ++i) {
      float dot = hn::GetLane(hn::SumOfLanes(d, sum[l][i]));
      for (std::int64_t tail = c; tail < channels; ++tail) {
        dot += query[l * query_stride + tail] * scalar_f32(key[i][tail]);
      }
      s[l * s_stride + i] = dot;
    }
  }
}

/// Copies `count` rows of `channels` elements into `to` [count, channels] as float32.
template <class T>
HWY_INLINE void pack_rows(const std::byte* const* rows, std::int64_t count, std::int64_t channels,
                          float* to) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t r = 0; r < count; ++r, to += channels) {
    const T* from = reinterpret_cast<const T*>(rows[r]);
    std::int64_t c = 0;
    for (; c + lanes <= channels; c += lanes) hn::StoreU(load_as_f32(d, from + c), d, to + c);
    for (; c < channels; ++c) to[c] = scalar_f32(from[c]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#endif  // include guard
