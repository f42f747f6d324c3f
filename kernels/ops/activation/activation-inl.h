// Activation functions on SIMD vectors, compiled once per instruction set (Highway). Shared by the
// fused stores of Linear and by the element-wise operations. Errors are below 3e-7 relative to
// max(1, |value|). Plus infinity and NaN stay what they are; minus infinity is not an input.

// Include guard of Highway: this file is meant to be compiled once for each target.
#if defined(FOVEA_KERNELS_OPS_ACTIVATION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef FOVEA_KERNELS_OPS_ACTIVATION_INL_H
#undef FOVEA_KERNELS_OPS_ACTIVATION_INL_H
#else
#define FOVEA_KERNELS_OPS_ACTIVATION_INL_H
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cstddef>

#include "kernels/ops/linear/linear.h"

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// 1 / (1 + exp(-x)). hn::Exp is only valid up to 104, where the quotient is already 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V grown = hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 104.0f)));
  return hn::Div(one, hn::Add(one, grown));
}

/// x * sigmoid(slope * x): silu for slope 1, the "quick GELU" of CLIP for slope 1.702.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid_gate(D d, V x, float slope) {
  return hn::Mul(x, sigmoid(d, hn::Mul(x, hn::Set(d, slope))));
}

/// 0.5 x (1 + erf(x / sqrt 2)) = relu(x) - 0.5 |x| erfc(|x| / sqrt 2), which does not cancel for
/// negative x. erfc by Abramowitz and Stegun 7.1.26 (absolute error below 1.5e-7).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_erf(D d, V x) {
  const V half = hn::Set(d, 0.5f);
  const V one = hn::Set(d, 1.0f);
  const V magnitude = hn::Abs(x);
  const V positive = hn::MulAdd(half, magnitude, hn::Mul(half, x));
  // Beyond 20 the second term is 0 in float32; the limit keeps infinity away from 0 * infinity.
  const V bounded = hn::Min(magnitude, hn::Set(d, 20.0f));
  const V z = hn::Mul(bounded, hn::Set(d, 0.70710678f));
  const V t = hn::Div(one, hn::MulAdd(hn::Set(d, 0.3275911f), z, one));
  V poly = hn::MulAdd(t, hn::Set(d, 1.061405429f), hn::Set(d, -1.453152027f));
  poly = hn::MulAdd(t, poly, hn::Set(d, 1.421413741f));
  poly = hn::MulAdd(t, poly, hn::Set(d, -0.284496736f));
  poly = hn::MulAdd(t, poly, hn::Set(d, 0.254829592f));
  const V erfc = hn::Mul(hn::Mul(t, poly), hn::Exp(d, hn::Neg(hn::Mul(z, z))));
  return hn::NegMulAdd(hn::Mul(half, bounded), erfc, positive);
}

/// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), by 1 + tanh(u) = 2 sigmoid(2 u).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gelu_tanh(D d, V x) {
  const V cubic = hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.044715f), hn::Set(d, 1.0f));
  const V doubled = hn::Mul(hn::Mul(x, hn::Set(d, 1.5957691216f)), cubic);
  return hn::Mul(x, sigmoid(d, doubled));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V relu(D d, V x) {
  return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);  // unlike Max, this keeps NaN
}

template <Activation kActivation, class D, class V = hn::Vec<D>>
HWY_INLINE V activate_vector(D d, V x) {
  if constexpr (kActivation == Activation::gelu_erf) return gelu_erf(d, x);
  if constexpr (kActivation == Activation::gelu_tanh) return gelu_tanh(d, x);
  if constexpr (kActivation == Activation::quick_gelu) return sigmoid_gate(d, x, 1.702f);
  if constexpr (kActivation == Activation::silu) return sigmoid_gate(d, x, 1.0f);
  if constexpr (kActivation == Activation::relu) return relu(d, x);
  return x;
}

/// x[i] = activation(x[i]) for contiguous x.
template <Activation kActivation>
HWY_INLINE void activate_span(float* x, std::size_t count) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(activate_vector<kActivation>(d, hn::LoadU(d, x + i)), d, x + i);
  }
  if (i < count) {
    HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)] = {};
    for (std::size_t j = i; j < count; ++j) tail[j - i] = x[j];
    hn::Store(activate_vector<kActivation>(d, hn::Load(d, tail)), d, tail);
    for (std::size_t j = i; j < count; ++j) x[j] = tail[j - i];
  }
}

/// The same for an activation known at run time.
HWY_INLINE void activate_span(Activation activation, float* x, std::size_t count) {
  switch (activation) {
    case Activation::none:
      return;
    case Activation::gelu_erf:
      return activate_span<Activation::gelu_erf>(x, count);
    case Activation::gelu_tanh:
      return activate_span<Activation::gelu_tanh>(x, count);
    case Activation::quick_gelu:
      return activate_span<Activation::quick_gelu>(x, count);
    case Activation::silu:
      return activate_span<Activation::silu>(x, count);
    case Activation::relu:
      return activate_span<Activation::relu>(x, count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#endif  // include guard
