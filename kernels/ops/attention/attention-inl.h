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

#include "kernels/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// 2^x for x <= 0, with a relative error below 1.2e-7; exactly 1 for 0, exactly 0 from -127 down,
/// NaN for NaN. (The polynomial is the minimax one of degree 6 on [-1/2, 1/2], error 2e-9.)
HWY_INLINE V exp2_nonpositive(D d, V x) {
  const hn::RebindToSigned<D> whole;
  const V clamped = hn::Max(hn::Set(d, -127.0f), x);  // in this order NaN passes on x86
  const V rounded = hn::Round(clamped);
  const V f = hn::Sub(clamped, rounded);
  V p = hn::MulAdd(f, hn::Set(d, 1.5345812e-4f), hn::Set(d, 1.33999312e-3f));
  p = hn::MulAdd(f, p, hn::Set(d, 9.61848896e-3f));
  p = hn::MulAdd(f, p, hn::Set(d, 5.55032878e-2f));
  p = hn::MulAdd(f, p, hn::Set(d, 2.40226469e-1f));
  p = hn::MulAdd(f, p, hn::Set(d, 6.93147206e-1f));
  p = hn::MulAdd(f, p, hn::Set(d, 1.0f));
  // The exponent field of -127 is 0, which makes the factor 0.
  const auto biased = hn::Add(hn::ConvertTo(whole, rounded), hn::Set(whole, 127));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(biased)));
}

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
