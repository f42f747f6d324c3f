#include "kernels/ops/similarity/similarity.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/similarity/similarity_cpu.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

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

namespace {

/// The row that is least like the one most like it.
Result<std::int64_t> first_pick(Context& context, ConstTensorView unit) {
  constexpr std::int64_t kTile = 64;  // rows compared with all others at a time
  const std::int64_t n = unit.rows();
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView tile, context.workspace.take(Shape{kTile, n}, DType::f32));
  std::int64_t best = 0;
  float best_cosine = std::numeric_limits<float>::infinity();
  for (std::int64_t begin = 0; begin < n; begin += kTile) {
    const std::int64_t count = std::min(kTile, n - begin);
    FOVEA_CHECK(row_products(context, unit.slice(begin, count), unit, tile.slice(0, count)));
    for (std::int64_t i = 0; i < count; ++i) {
      float* cosines = tile.row<float>(i);
      cosines[begin + i] = -std::numeric_limits<float>::infinity();  // not itself
      const float nearest = *std::max_element(cosines, cosines + n);
      if (nearest < best_cosine) {
        best_cosine = nearest;
        best = begin + i;
      }
    }
  }
  return best;
}

}  // namespace

Status farthest_rows(Context& context, ConstTensorView unit, TensorView indices) {
  FOVEA_CHECK(check_f32_rank(context, "farthest_rows unit", unit, 2));
  const std::int64_t n = unit.rows(), k = indices.rows();
  if (indices.dtype != DType::i32 || indices.shape.rank() != 1 ||
      indices.device != context.device || k < 1 || k > n) {
    return make_error(ErrorCode::usage, "expected i32 places for 1 to " + std::to_string(n) +
                                            " rows where the context computes, found " +
                                            indices.shape.to_string())
        .in_field("farthest_rows indices");
  }
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return farthest_rows_cuda(context, unit, indices);
#endif
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView cosines, context.workspace.take(Shape{1, n}, DType::f32));
  // Per row: its largest cosine with a chosen row; infinite once it is chosen itself.
  std::vector<float> nearest(static_cast<std::size_t>(n), -std::numeric_limits<float>::infinity());
  FOVEA_TRY(std::int64_t next, first_pick(context, unit));
  auto* const chosen = indices.as<std::int32_t>();
  for (std::int64_t count = 0;;) {
    chosen[count] = static_cast<std::int32_t>(next);
    if (++count == k) break;
    FOVEA_CHECK(row_products(context, unit.slice(next, 1), unit, cosines));
    nearest[static_cast<std::size_t>(next)] = std::numeric_limits<float>::infinity();
    for (std::size_t i = 0; i < nearest.size(); ++i) {
      nearest[i] = std::max(nearest[i], cosines.as<float>()[i]);
    }
    next = std::min_element(nearest.begin(), nearest.end()) - nearest.begin();
  }
  std::sort(chosen, chosen + k);
  return {};
}

Status head_means(Context& context, ConstTensorView x, TensorView mean) {
  FOVEA_CHECK(check_activation_rank(context, "head_means x", x, 3));
  FOVEA_CHECK(check_f32_shape(context, "head_means mean", mean, {x.rows(), x.shape[2]}));
  if (mean.shape.elements() == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return head_means_cuda(context, x, mean);
#endif
  const std::int64_t heads = x.shape[1], channels = x.shape[2];
  for (std::int64_t row = 0; row < x.rows(); ++row) {
    const float* from = x.row<float>(row);
    float* to = mean.row<float>(row);
    for (std::int64_t c = 0; c < channels; ++c) {
      float sum = 0;
      for (std::int64_t head = 0; head < heads; ++head) sum += from[head * channels + c];
      to[c] = sum / static_cast<float>(heads);
    }
  }
  return {};
}

}  // namespace fovea
#endif  // HWY_ONCE
