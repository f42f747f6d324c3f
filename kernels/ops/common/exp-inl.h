// Exponentials for softmax on SIMD vectors, compiled once per instruction set (Highway). Unlike
// Highway's own Exp they keep NaN, so that a damaged number is seen at the end and not lost.

// Include guard of Highway: this file is meant to be compiled once for each target.
#if defined(FOVEA_KERNELS_OPS_EXP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef FOVEA_KERNELS_OPS_EXP_INL_H
#undef FOVEA_KERNELS_OPS_EXP_INL_H
#else
#define FOVEA_KERNELS_OPS_EXP_INL_H
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Added to this, a number loses its fraction, and its nearest integer plus 127 stands in the last
// bits of the sum: where the exponent field wants it. That of -127 is 0, and so is the factor.
constexpr float kRoundToExponent = 12582912.0f + 127.0f;

/// 2^f * 2^n for f in [-1/2, 1/2], where shifted = n + kRoundToExponent. The polynomial is the
/// minimax one of degree 6 (error 2e-9).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp2_parts(D d, V f, V shifted) {
  V p = hn::MulAdd(f, hn::Set(d, 1.5345812e-4f), hn::Set(d, 1.33999312e-3f));
  p = hn::MulAdd(f, p, hn::Set(d, 9.61848896e-3f));
  p = hn::MulAdd(f, p, hn::Set(d, 5.55032878e-2f));
  p = hn::MulAdd(f, p, hn::Set(d, 2.40226469e-1f));
  p = hn::MulAdd(f, p, hn::Set(d, 6.93147206e-1f));
  p = hn::MulAdd(f, p, hn::Set(d, 1.0f));
  const hn::RebindToUnsigned<D> bits;
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(bits, shifted))));
}

/// The larger of x and lowest; unlike Max this keeps NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V at_least(D d, V x, float lowest) {
  const V limit = hn::Set(d, lowest);
  return hn::IfThenElse(hn::Lt(x, limit), limit, x);
}

/// 2^x for x from -infinity to 127, with a relative error below 1.2e-7; exactly 1 for 0, exactly 0
/// from -127 down, NaN for NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp2_lanes(D d, V x) {
  const V magic = hn::Set(d, kRoundToExponent);
  const V clamped = at_least(d, x, -127.0f);
  const V shifted = hn::Add(clamped, magic);
  return exp2_parts(d, hn::Sub(clamped, hn::Sub(shifted, magic)), shifted);
}

/// e^x for x from -infinity to 88, with a relative error below 2e-7; exactly 1 for 0, exactly 0
/// from -88.1 down, NaN for NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_lanes(D d, V x) {
  const V magic = hn::Set(d, kRoundToExponent);
  const V log2_e = hn::Set(d, 1.44269504f);
  const V clamped = at_least(d, x, -88.1f);
  const V shifted = hn::MulAdd(clamped, log2_e, magic);
  // x log2(e) - n, with what the float32 constant lacks.
  const V f = hn::MulSub(clamped, log2_e, hn::Sub(shifted, magic));
  return exp2_parts(d, hn::MulAdd(clamped, hn::Set(d, 1.92596303e-8f), f), shifted);
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#endif  // include guard
