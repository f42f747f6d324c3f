#include "kernels/ops/activation/activation.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/activation/activation_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <cstddef>
#include <limits>

#include "kernels/base/parallel.h"
#include "kernels/ops/activation/activation-inl.h"
#include "kernels/ops/common/checks.h"
#include "kernels/ops/common/exp-inl.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/activation/activation_cuda.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

/// out[i] = operation(a[i], b[i]). The tail goes through the same vector code in a padded copy, so
/// that a value does not depend on its place in the row.
template <class Operation>
HWY_INLINE void zip(const float* a, const float* b, float* out, std::size_t count,
                    const Operation& operation) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(operation(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  if (i == count) return;
  HWY_ALIGN float tail_a[HWY_MAX_BYTES / sizeof(float)] = {};
  HWY_ALIGN float tail_b[HWY_MAX_BYTES / sizeof(float)] = {};
  for (std::size_t j = i; j < count; ++j) {
    tail_a[j - i] = a[j];
    tail_b[j - i] = b[j];
  }
  hn::Store(operation(hn::Load(d, tail_a), hn::Load(d, tail_b)), d, tail_a);
  for (std::size_t j = i; j < count; ++j) out[j] = tail_a[j - i];
}

void silu_mul_span(const float* gate, const float* up, float* out, std::size_t count) {
  zip(gate, up, out, count,
      [](V g, V u) HWY_ATTR { return hn::Mul(activate_vector<Activation::silu>(D(), g), u); });
}

void add_span(const float* x, float* y, std::size_t count) {
  zip(x, y, y, count, [](V a, V b) HWY_ATTR { return hn::Add(a, b); });
}

void activate_in_place(Activation activation, float* x, std::size_t count) {
  activate_span(activation, x, count);
}

void softmax_span(float* x, std::size_t count) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const float lowest = -std::numeric_limits<float>::infinity();
  V maxima = hn::Set(d, lowest);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) maxima = hn::Max(maxima, hn::LoadU(d, x + i));
  float maximum = hn::GetLane(hn::MaxOfLanes(d, maxima));
  for (std::size_t j = i; j < count; ++j) maximum = x[j] > maximum ? x[j] : maximum;
  if (maximum == lowest) {  // nothing but -infinity (or no columns): x - maximum would be NaN
    for (std::size_t j = 0; j < count; ++j) x[j] = 0.0f;
    return;
  }

  const V shift = hn::Set(d, maximum);
  const auto grow = [d, shift](V v) HWY_ATTR { return exp_lanes(d, hn::Sub(v, shift)); };
  V sums = hn::Zero(d);
  for (i = 0; i + lanes <= count; i += lanes) {
    const V grown = grow(hn::LoadU(d, x + i));
    hn::StoreU(grown, d, x + i);
    sums = hn::Add(sums, grown);
  }
  if (i < count) {
    HWY_ALIGN float tail[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(hn::Set(d, lowest), d, tail);
    for (std::size_t j = i; j < count; ++j) tail[j - i] = x[j];
    const V grown = grow(hn::Load(d, tail));
    hn::Store(grown, d, tail);
    for (std::size_t j = i; j < count; ++j) x[j] = tail[j - i];
    sums = hn::Add(sums, grown);
  }
  const float inverse = 1.0f / hn::GetLane(hn::SumOfLanes(d, sums));
  const V inverses = hn::Set(d, inverse);
  for (i = 0; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), inverses), d, x + i);
  }
  for (; i < count; ++i) x[i] *= inverse;
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {
namespace {

HWY_EXPORT(silu_mul_span);
HWY_EXPORT(add_span);
HWY_EXPORT(activate_in_place);
HWY_EXPORT(softmax_span);

/// Cost of one exponential in units of threads_for_elements().
constexpr std::int64_t kExpWork = 4;

}  // namespace

Status silu_mul(Context& context, ConstTensorView gate, ConstTensorView up, TensorView out) {
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return silu_mul_cuda(context, gate, up, out);
#endif
  FOVEA_CHECK(check_cpu(context));
  FOVEA_CHECK(check_f32_rank("silu_mul gate", gate, 2));
  FOVEA_CHECK(check_f32_shape("silu_mul up", up, gate.shape));
  FOVEA_CHECK(check_f32_shape("silu_mul out", out, gate.shape));
  const auto width = static_cast<std::size_t>(gate.shape[1]);
  const int threads = threads_for_elements(context, gate.shape.elements() * kExpWork);
  const auto span = HWY_DYNAMIC_DISPATCH(silu_mul_span);
  parallel_for(threads, gate.rows(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      span(gate.row<float>(row), up.row<float>(row), out.row<float>(row), width);
    }
  });
  return {};
}

Status activate(Context& context, TensorView x, Activation activation) {
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return activate_cuda(context, x, activation);
#endif
  FOVEA_CHECK(check_cpu(context));
  FOVEA_CHECK(check_f32_rank("activate x", x, 2));
  const auto width = static_cast<std::size_t>(x.shape[1]);
  const int threads = threads_for_elements(context, x.shape.elements() * kExpWork);
  const auto in_place = HWY_DYNAMIC_DISPATCH(activate_in_place);
  parallel_for(threads, x.rows(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) in_place(activation, x.row<float>(row), width);
  });
  return {};
}

Status add(Context& context, ConstTensorView x, TensorView y) {
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return add_cuda(context, x, y);
#endif
  FOVEA_CHECK(check_cpu(context));
  FOVEA_CHECK(check_f32_rank("add y", y, 2));
  const bool same_row = x.shape.rank() == 2 && x.rows() == 1;
  FOVEA_CHECK(check_f32_shape("add x", x, same_row ? Shape{1, y.shape[1]} : y.shape));
  const auto width = static_cast<std::size_t>(y.shape[1]);
  const int threads = threads_for_elements(context, y.shape.elements());
  const auto span = HWY_DYNAMIC_DISPATCH(add_span);
  parallel_for(threads, y.rows(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      span(x.row<float>(same_row ? 0 : row), y.row<float>(row), width);
    }
  });
  return {};
}

Status softmax_rows(Context& context, TensorView x) {
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return softmax_rows_cuda(context, x);
#endif
  FOVEA_CHECK(check_cpu(context));
  FOVEA_CHECK(check_f32_rank("softmax x", x, 2));
  const auto width = static_cast<std::size_t>(x.shape[1]);
  const int threads = threads_for_elements(context, x.shape.elements() * kExpWork);
  const auto span = HWY_DYNAMIC_DISPATCH(softmax_span);
  parallel_for(threads, x.rows(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) span(x.row<float>(row), width);
  });
  return {};
}

}  // namespace fovea
#endif  // HWY_ONCE
