#include "kernels/ops/similarity/similarity.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/similarity/similarity_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/base/parallel.h"
#include "kernels/ops/common/checks.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/similarity/similarity_cuda.h"
#endif

#ifndef FOVEA_SIMILARITY_TASK
#define FOVEA_SIMILARITY_TASK
namespace fovea {
namespace {

struct ProductTask {
  ConstTensorView a, b;
  TensorView out;
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

constexpr std::int64_t kRows = 4, kColumns = 2;  // of one tile: eight sums stay in registers

/// Products of R rows of a with C rows of b. Each has one sum of vectors, so that it rounds alike
/// in tiles of any size.
template <std::int64_t R, std::int64_t C>
HWY_INLINE void tile(const ProductTask& task, std::int64_t row, std::int64_t column) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const auto width = static_cast<std::size_t>(task.a.shape[1]);
  const float* a[R];
  const float* b[C];
  for (std::int64_t r = 0; r < R; ++r) a[r] = task.a.row<float>(row + r);
  for (std::int64_t c = 0; c < C; ++c) b[c] = task.b.row<float>(column + c);
  V sums[R][C];
  for (std::int64_t r = 0; r < R; ++r) {
    for (std::int64_t c = 0; c < C; ++c) sums[r][c] = hn::Zero(d);
  }
  std::size_t i = 0;
  for (; i + lanes <= width; i += lanes) {
    V right[C];
    for (std::int64_t c = 0; c < C; ++c) right[c] = hn::LoadU(d, b[c] + i);
    for (std::int64_t r = 0; r < R; ++r) {
      const V left = hn::LoadU(d, a[r] + i);
      for (std::int64_t c = 0; c < C; ++c) {
        sums[r][c] = hn::MulAdd(left, right[c], sums[r][c]);
      }
    }
  }
  for (std::int64_t r = 0; r < R; ++r) {
    for (std::int64_t c = 0; c < C; ++c) {
      float sum = hn::GetLane(hn::SumOfLanes(d, sums[r][c]));
      for (std::size_t k = i; k < width; ++k) sum += a[r][k] * b[c][k];
      task.out.row<float>(row + r)[column + c] = sum;
    }
  }
}

/// Columns [begin, end) of the products.
void product_columns(const ProductTask& task, std::int64_t begin, std::int64_t end) {
  const std::int64_t rows = task.a.rows();
  std::int64_t column = begin;
  for (; column + kColumns <= end; column += kColumns) {
    std::int64_t row = 0;
    for (; row + kRows <= rows; row += kRows) tile<kRows, kColumns>(task, row, column);
    for (; row < rows; ++row) tile<1, kColumns>(task, row, column);
  }
  for (; column < end; ++column) {
    for (std::int64_t row = 0; row < rows; ++row) tile<1, 1>(task, row, column);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {
namespace {

HWY_EXPORT(product_columns);

}  // namespace

Status normalize_rows(Context& context, ConstTensorView x, TensorView y) {
  FOVEA_CHECK(check_f32_rank(context, "normalize x", x, 2));
  FOVEA_CHECK(check_f32_shape(context, "normalize y", y, x.shape));
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) return normalize_rows_cuda(context, x, y);
#endif
  const std::int64_t width = x.shape[1];
  const int threads = threads_for_elements(context, x.shape.elements());
  parallel_for(threads, x.rows(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* from = x.row<float>(row);
      double squares = 0;
      for (std::int64_t i = 0; i < width; ++i) squares += static_cast<double>(from[i]) * from[i];
      const auto factor = static_cast<float>(squares > 0 ? 1.0 / std::sqrt(squares) : 0.0);
      float* to = y.row<float>(row);
      for (std::int64_t i = 0; i < width; ++i) to[i] = from[i] * factor;
    }
  });
  return {};
}

Status row_products(Context& context, ConstTensorView a, ConstTensorView b, TensorView out) {
  FOVEA_CHECK(check_f32_rank(context, "products a", a, 2));
  FOVEA_CHECK(check_f32_rank(context, "products b", b, 2));
  if (a.shape[1] != b.shape[1]) {
    return make_error(ErrorCode::usage, "rows of " + std::to_string(a.shape[1]) + " and " +
                                            std::to_string(b.shape[1]) + " numbers");
  }
  FOVEA_CHECK(check_f32_shape(context, "products out", out, {a.rows(), b.rows()}));
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) return row_products_cuda(context, a, b, out);
#endif
  const ProductTask task{a, b, out};
  const int threads = threads_for_elements(context, a.shape.elements() * b.rows());
  parallel_for(threads, b.rows(), 16, [&task](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(product_columns)(task, begin, end);
  });
  return {};
}

}  // namespace fovea
#endif  // HWY_ONCE
