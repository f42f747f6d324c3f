#include "kernels/ops/norm/norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/norm/norm_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <cmath>
#include <cstddef>

#include "kernels/base/parallel.h"
#include "kernels/ops/common/checks.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/norm/norm_cuda.h"
#endif

#ifndef FOVEA_NORM_TASK
#define FOVEA_NORM_TASK
namespace fovea {
namespace {

struct NormTask {
  ConstTensorView x;
  const float* weight;
  const float* bias;  // null for rms_norm
  float epsilon;
  TensorView y;
};

}  // namespace
}  // namespace fovea
#endif

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

/// Sum over i of term(x[i]). Four partial sums hide the latency of addition and keep rounding
/// errors of wide rows small.
template <class Term>
HWY_INLINE float sum_of(D d, const float* x, std::size_t width, const Term& term) {
  const std::size_t lanes = hn::Lanes(d);
  V sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  std::size_t i = 0;
  for (; i + 4 * lanes <= width; i += 4 * lanes) {
    sum0 = hn::Add(sum0, term(hn::LoadU(d, x + i)));
    sum1 = hn::Add(sum1, term(hn::LoadU(d, x + i + lanes)));
    sum2 = hn::Add(sum2, term(hn::LoadU(d, x + i + 2 * lanes)));
    sum3 = hn::Add(sum3, term(hn::LoadU(d, x + i + 3 * lanes)));
  }
  for (; i + lanes <= width; i += lanes) sum0 = hn::Add(sum0, term(hn::LoadU(d, x + i)));
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
  for (; i < width; ++i) sum += hn::GetLane(term(hn::Set(d, x[i])));
  return sum;
}

void rms_norm_rows(const NormTask& task, std::int64_t begin, std::int64_t end) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const auto width = static_cast<std::size_t>(task.x.shape[1]);
  for (std::int64_t row = begin; row < end; ++row) {
    const float* x = task.x.row<float>(row);
    float* y = task.y.row<float>(row);
    const float squares = sum_of(d, x, width, [](V v) HWY_ATTR { return hn::Mul(v, v); });
    const float factor = 1.0f / std::sqrt(squares / static_cast<float>(width) + task.epsilon);
    const V factors = hn::Set(d, factor);
    std::size_t i = 0;
    for (; i + lanes <= width; i += lanes) {
      const V scaled = hn::Mul(hn::LoadU(d, x + i), factors);
      hn::StoreU(hn::Mul(scaled, hn::LoadU(d, task.weight + i)), d, y + i);
    }
    for (; i < width; ++i) y[i] = x[i] * factor * task.weight[i];
  }
}

void layer_norm_rows(const NormTask& task, std::int64_t begin, std::int64_t end) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const auto width = static_cast<std::size_t>(task.x.shape[1]);
  for (std::int64_t row = begin; row < end; ++row) {
    const float* x = task.x.row<float>(row);
    float* y = task.y.row<float>(row);
    const float mean =
        sum_of(d, x, width, [](V v) HWY_ATTR { return v; }) / static_cast<float>(width);
    const V means = hn::Set(d, mean);
    // Squares of centred values: E[x^2] - mean^2 would cancel where the mean is large.
    const float squares = sum_of(d, x, width, [means](V v) HWY_ATTR {
      const V centred = hn::Sub(v, means);
      return hn::Mul(centred, centred);
    });
    const float factor = 1.0f / std::sqrt(squares / static_cast<float>(width) + task.epsilon);
    const V factors = hn::Set(d, factor);
    std::size_t i = 0;
    for (; i + lanes <= width; i += lanes) {
      const V scaled = hn::Mul(hn::Sub(hn::LoadU(d, x + i), means), factors);
      const V weight = hn::LoadU(d, task.weight + i);
      hn::StoreU(hn::MulAdd(scaled, weight, hn::LoadU(d, task.bias + i)), d, y + i);
    }
    for (; i < width; ++i) y[i] = (x[i] - mean) * factor * task.weight[i] + task.bias[i];
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {
namespace {

HWY_EXPORT(rms_norm_rows);
HWY_EXPORT(layer_norm_rows);

Status check_norm(const Context& context, ConstTensorView x, float epsilon, TensorView y) {
  FOVEA_CHECK(check_cpu(context));
  FOVEA_CHECK(check_f32_rank("norm x", x, 2));
  FOVEA_CHECK(check_f32_shape("norm y", y, x.shape));
  if (!(epsilon >= 0.0f)) {
    return make_error(ErrorCode::usage, "epsilon must be at least 0").in_field("norm epsilon");
  }
  return {};
}

}  // namespace

Status rms_norm(Context& context, ConstTensorView x, ConstTensorView weight, float epsilon,
                TensorView y) {
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return norm_cuda(context, x, weight, {}, epsilon, y);
#endif
  FOVEA_CHECK(check_norm(context, x, epsilon, y));
  FOVEA_CHECK(check_f32_shape("norm weight", weight, {x.shape[1]}));
  const NormTask task{x, weight.as<float>(), nullptr, epsilon, y};
  const int threads = threads_for_elements(context, x.shape.elements());
  parallel_for(threads, x.rows(), 1, [&task](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(rms_norm_rows)(task, begin, end);
  });
  return {};
}

Status layer_norm(Context& context, ConstTensorView x, ConstTensorView weight, ConstTensorView bias,
                  float epsilon, TensorView y) {
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) {
    FOVEA_CHECK(check_f32_shape(context, "norm bias", bias, {x.shape[1]}));
    return norm_cuda(context, x, weight, bias, epsilon, y);
  }
#endif
  FOVEA_CHECK(check_norm(context, x, epsilon, y));
  FOVEA_CHECK(check_f32_shape("norm weight", weight, {x.shape[1]}));
  FOVEA_CHECK(check_f32_shape("norm bias", bias, {x.shape[1]}));
  const NormTask task{x, weight.as<float>(), bias.as<float>(), epsilon, y};
  const int threads = threads_for_elements(context, x.shape.elements());
  parallel_for(threads, x.rows(), 1, [&task](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(layer_norm_rows)(task, begin, end);
  });
  return {};
}

}  // namespace fovea
#endif  // HWY_ONCE
