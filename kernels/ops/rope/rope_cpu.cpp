#include "kernels/ops/rope/rope.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/rope/rope_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

#include "kernels/base/parallel.h"
#include "kernels/ops/common/checks.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/cuda/runtime.h"
#include "kernels/ops/rope/rope_cuda.h"
#endif

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

/// cosines[c] = cos(position * frequencies[c]), sines likewise. The angle is formed and reduced to
/// [-pi/4, pi/4] in double, where float32 would lose a digit per decade of position; the
/// polynomials (Cephes) are good to 1e-7 in float32. count is a multiple of the lanes.
void cos_sin(double position, const double* frequencies, float* cosines, float* sines,
             std::size_t count) {
  const hn::ScalableTag<double> wide;
  const hn::Rebind<float, decltype(wide)> d;
  const hn::Rebind<std::int32_t, decltype(wide)> whole;
  const auto one = hn::Set(d, 1.0f);
  const auto positions = hn::Set(wide, position);
  for (std::size_t c = 0; c < count; c += hn::Lanes(wide)) {
    const auto angle = hn::Mul(positions, hn::LoadU(wide, frequencies + c));
    const auto turns = hn::Round(hn::Mul(angle, hn::Set(wide, 0.63661977236758134)));  // 2/pi
    // pi/2 in two parts, so that the product of turns loses nothing that matters.
    auto rest = hn::NegMulAdd(turns, hn::Set(wide, 1.5707963267948966), angle);
    rest = hn::NegMulAdd(turns, hn::Set(wide, 6.123233995736766e-17), rest);
    const auto quadrant = hn::DemoteTo(whole, turns);

    const auto x = hn::DemoteTo(d, rest);
    const auto x2 = hn::Mul(x, x);
    auto sine = hn::MulAdd(x2, hn::Set(d, -1.9515295891e-4f), hn::Set(d, 8.3321608736e-3f));
    sine = hn::MulAdd(x2, sine, hn::Set(d, -1.6666654611e-1f));
    sine = hn::MulAdd(hn::Mul(sine, x2), x, x);
    auto cosine =
        hn::MulAdd(x2, hn::Set(d, 2.443315711809948e-5f), hn::Set(d, -1.388731625493765e-3f));
    cosine = hn::MulAdd(x2, cosine, hn::Set(d, 4.166664568298827e-2f));
    cosine = hn::MulAdd(x2, cosine, hn::Set(d, -0.5f));
    cosine = hn::MulAdd(x2, cosine, one);

    // Odd quadrants swap the two; the sine is negative in quadrants 2, 3, the cosine in 1, 2.
    const auto bit0 = hn::Set(whole, 1);
    const auto bit1 = hn::Set(whole, 2);
    const auto swap = hn::RebindMask(d, hn::TestBit(quadrant, bit0));
    const auto sine_sign = hn::BitCast(d, hn::ShiftLeft<30>(hn::And(quadrant, bit1)));
    const auto cosine_sign =
        hn::BitCast(d, hn::ShiftLeft<30>(hn::And(hn::Add(quadrant, bit0), bit1)));
    hn::StoreU(hn::Xor(hn::IfThenElse(swap, cosine, sine), sine_sign), d, sines + c);
    hn::StoreU(hn::Xor(hn::IfThenElse(swap, sine, cosine), cosine_sign), d, cosines + c);
  }
}

void rotate(float* x, const float* cosines, const float* sines, std::size_t half) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t c = 0;
  for (; c + lanes <= half; c += lanes) {
    const auto first = hn::LoadU(d, x + c);
    const auto second = hn::LoadU(d, x + half + c);
    const auto cosine = hn::LoadU(d, cosines + c);
    const auto sine = hn::LoadU(d, sines + c);
    hn::StoreU(hn::NegMulAdd(second, sine, hn::Mul(first, cosine)), d, x + c);
    hn::StoreU(hn::MulAdd(first, sine, hn::Mul(second, cosine)), d, x + half + c);
  }
  for (; c < half; ++c) {
    const float first = x[c];
    const float second = x[half + c];
    x[c] = first * cosines[c] - second * sines[c];
    x[half + c] = second * cosines[c] + first * sines[c];
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {
namespace {

HWY_EXPORT(cos_sin);
HWY_EXPORT(rotate);

/// Tables are padded to whole vectors of any instruction set.
constexpr std::int64_t kTablePadding = 16;

Error usage(const char* field, std::string message) {
  return make_error(ErrorCode::usage, std::move(message)).in_field(field);
}

Status check_rope(const Context& context, TensorView x, std::span<const std::int32_t> positions,
                  float theta) {
  if (!context.on_cuda()) FOVEA_CHECK(check_f32_rank("rope x", x, 3));
  if (x.shape.rank() != 3) return usage("rope x", "expected 3 axes, found " + x.shape.to_string());
  if (x.shape[2] % 2 != 0) {
    return usage("rope x", "expected an even head_dim, found shape " + x.shape.to_string());
  }
  if (static_cast<std::int64_t>(positions.size()) != x.rows()) {
    return usage("rope positions", "expected one per row, " + std::to_string(x.rows()) +
                                       ", found " + std::to_string(positions.size()));
  }
  for (const std::int32_t position : positions) {
    if (position < 0)
      return usage("rope positions", "negative position " + std::to_string(position));
  }
  if (!(theta > 0.0f) || !std::isfinite(theta)) {
    return usage("rope theta", "expected a positive number, found " + std::to_string(theta));
  }
  return {};
}

}  // namespace

Status rope(Context& context, TensorView x, std::span<const std::int32_t> positions, float theta) {
  FOVEA_CHECK(check_rope(context, x, positions, theta));
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) {
    Workspace::Scope scope(context.workspace);
    FOVEA_TRY(const std::int32_t* const here, upload(context, positions));
    const ConstTensorView view(reinterpret_cast<const std::byte*>(here), DType::i32, {x.rows()},
                               context.device);
    return rope_cuda(context, x, view, theta);
  }
#endif
  const std::int64_t heads = x.shape[1];
  const std::int64_t half = x.shape[2] / 2;
  if (x.shape.elements() == 0) return {};

  const int threads = threads_for_elements(context, x.shape.elements());
  const std::int64_t padded = (half + kTablePadding - 1) / kTablePadding * kTablePadding;
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView frequencies, context.workspace.take({padded * 2}, DType::f32));
  FOVEA_TRY(const TensorView tables, context.workspace.take({threads, 2, padded}, DType::f32));

  // theta^(-2c/head_dim) by repeated products: head_dim/2 roundings of 1e-16 do not show.
  double* frequency = frequencies.as<double>();
  const double ratio = std::pow(static_cast<double>(theta), -1.0 / static_cast<double>(half));
  double power = 1.0;
  for (std::int64_t c = 0; c < padded; ++c, power *= ratio) frequency[c] = c < half ? power : 0.0;

  const auto fill_tables = HWY_DYNAMIC_DISPATCH(cos_sin);
  const auto rotate_head = HWY_DYNAMIC_DISPATCH(rotate);
  parallel_for(threads, threads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t share = begin; share < end; ++share) {
      float* cosines = tables.row<float>(share);
      float* sines = cosines + padded;
      const std::int64_t last = x.rows() * (share + 1) / threads;
      for (std::int64_t row = x.rows() * share / threads; row < last; ++row) {
        fill_tables(positions[static_cast<std::size_t>(row)], frequency, cosines, sines,
                    static_cast<std::size_t>(padded));
        for (std::int64_t head = 0; head < heads; ++head) {
          rotate_head(x.row<float>(row) + head * 2 * half, cosines, sines,
                      static_cast<std::size_t>(half));
        }
      }
    }
  });
  return {};
}

Status rope(Context& context, TensorView x, ConstTensorView positions, float theta) {
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return rope_cuda(context, x, positions, theta);
#endif
  if (positions.dtype != DType::i32 || positions.shape != Shape{x.rows()}) {
    return usage("rope positions", "expected i32 [" + std::to_string(x.rows()) + "]");
  }
  return rope(context, x,
              std::span(positions.as<std::int32_t>(), static_cast<std::size_t>(x.rows())), theta);
}

}  // namespace fovea
#endif  // HWY_ONCE
