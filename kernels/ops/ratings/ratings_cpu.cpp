#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/ops/common/checks.h"
#include "kernels/ops/ratings/ratings.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/ratings/ratings_cuda.h"
#endif

namespace fovea {
namespace {

constexpr double kNormEpsilon = 1e-8;

std::int32_t farthest(std::span<const std::int32_t> rows, std::span<const std::int32_t> columns) {
  const auto [low_row, high_row] = std::minmax_element(rows.begin(), rows.end());
  const auto [low, high] = std::minmax_element(columns.begin(), columns.end());
  return std::max(std::abs(*high_row - *low), std::abs(*high - *low_row));
}

}  // namespace

Status multiply_scores(Context& context, TensorView a, ConstTensorView b) {
  FOVEA_CHECK(check_f32_rank(context, "multiply_scores a", a, 1));
  FOVEA_CHECK(check_f32_shape(context, "multiply_scores b", b, a.shape));
  if (a.shape[0] == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return multiply_scores_cuda(context, a, b);
#endif
  for (std::int64_t i = 0; i < a.shape[0]; ++i) a.as<float>()[i] *= b.as<float>()[i];
  return {};
}

Status shift_numbers(Context& context, TensorView numbers, std::int32_t by) {
  FOVEA_CHECK(check_list(context, "shift_numbers numbers", numbers, DType::i32));
  if (numbers.shape[0] == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return shift_numbers_cuda(context, numbers, by);
#endif
  for (std::int64_t i = 0; i < numbers.shape[0]; ++i) numbers.as<std::int32_t>()[i] += by;
  return {};
}

Status rater_shares(Context& context, ConstTensorView products, TensorView shares) {
  FOVEA_CHECK(check_f32_rank(context, "rater_shares products", products, 2));
  const std::int64_t words = products.shape[1];
  FOVEA_CHECK(check_f32_shape(context, "rater_shares shares", shares, {words}));
  if (words == 0) {
    return make_error(ErrorCode::usage, "a rating needs a word").in_field("rater_shares shares");
  }
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return rater_shares_cuda(context, products, shares);
#endif
  std::vector<double> affinity(static_cast<std::size_t>(words), 0.0);
  std::vector<double> parts(affinity.size());
  for (std::int64_t token = 0; token < products.rows(); ++token) {
    const float* dots = products.row<float>(token);
    const double largest = *std::max_element(dots, dots + words);
    double sum = 0;
    for (std::size_t w = 0; w < parts.size(); ++w) sum += parts[w] = std::exp(dots[w] - largest);
    for (std::size_t w = 0; w < parts.size(); ++w) affinity[w] += parts[w] / sum;
  }
  const double mean =
      std::accumulate(affinity.begin(), affinity.end(), 0.0) / static_cast<double>(words);
  float* const out = shares.as<float>();
  std::transform(affinity.begin(), affinity.end(), out,
                 [mean](double value) { return value > mean ? 1.0f : 0.0f; });
  if (std::count(out, out + words, 1.0f) == 0) std::fill_n(out, words, 1.0f);
  const float share = 1.0f / static_cast<float>(std::count(out, out + words, 1.0f));
  for (std::int64_t w = 0; w < words; ++w) out[w] *= share;
  return {};
}

Status rate_by_distance(Context& context, ConstTensorView tile, ConstTensorView shares,
                        std::span<const std::int32_t> rows, std::span<const std::int32_t> columns,
                        std::span<const float> weights, TensorView ratings) {
  FOVEA_CHECK(check_f32_rank(context, "rate_by_distance tile", tile, 3));
  const auto count = static_cast<std::int64_t>(rows.size());
  const auto width = static_cast<std::int64_t>(columns.size());
  const std::int64_t heads = tile.shape[0];
  FOVEA_CHECK(check_f32_shape(context, "rate_by_distance tile", tile, {heads, count, width}));
  FOVEA_CHECK(check_f32_shape(context, "rate_by_distance shares", shares, {count}));
  FOVEA_CHECK(check_f32_shape(context, "rate_by_distance ratings", ratings, {heads, width}));
  if (count > 0 && width > 0 && farthest(rows, columns) >= std::ssize(weights)) {
    return make_error(ErrorCode::usage, "a distance of " + std::to_string(farthest(rows, columns)) +
                                            " has no weight among " +
                                            std::to_string(weights.size()))
        .in_field("rate_by_distance weights");
  }
  if (ratings.shape.elements() == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) {
    return rate_by_distance_cuda(context, tile, shares, rows, columns, weights, ratings);
  }
#endif
  for (std::int64_t head = 0; head < heads; ++head)
    std::fill_n(ratings.row<float>(head), width, 0.0f);
  std::vector<float> corrections(columns.size());
  for (std::int64_t r = 0; r < count; ++r) {
    const float share = shares.as<float>()[r];
    if (share == 0) continue;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::int32_t distance = std::abs(rows[static_cast<std::size_t>(r)] - columns[c]);
      corrections[c] = share / weights[static_cast<std::size_t>(distance)];
    }
    for (std::int64_t head = 0; head < heads; ++head) {
      const float* p = tile.row<float>(head) + r * width;
      float* rating = ratings.row<float>(head);
      for (std::int64_t c = 0; c < width; ++c) {
        rating[c] += p[c] * corrections[static_cast<std::size_t>(c)];
      }
    }
  }
  return {};
}

Status row_sums(Context& context, ConstTensorView x, TensorView sums) {
  FOVEA_CHECK(check_f32_rank(context, "row_sums x", x, 2));
  FOVEA_CHECK(check_f32_shape(context, "row_sums sums", sums, {x.rows()}));
  if (x.rows() == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return row_sums_cuda(context, x, sums);
#endif
  for (std::int64_t row = 0; row < x.rows(); ++row) {
    const float* values = x.row<float>(row);
    sums.as<float>()[row] = static_cast<float>(std::accumulate(values, values + x.shape[1], 0.0));
  }
  return {};
}

Status mean_of_rows(Context& context, ConstTensorView x, ConstTensorView rows, TensorView mean) {
  FOVEA_CHECK(check_f32_rank(context, "mean_of_rows x", x, 2));
  FOVEA_CHECK(check_list(context, "mean_of_rows rows", rows, DType::i32));
  FOVEA_CHECK(check_f32_shape(context, "mean_of_rows mean", mean, {x.shape[1]}));
  const std::int64_t count = rows.shape[0];
  if (count == 0) {
    return make_error(ErrorCode::usage, "no rows have no mean").in_field("mean_of_rows rows");
  }
  if (mean.shape[0] == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return mean_of_rows_cuda(context, x, rows, mean);
#endif
  float* const out = mean.as<float>();
  std::fill_n(out, mean.shape[0], 0.0f);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t row = rows.as<std::int32_t>()[i];
    if (row < 0 || row >= x.rows()) {
      return make_error(ErrorCode::usage, "there is no row " + std::to_string(row))
          .in_field("mean_of_rows rows");
    }
    const float* values = x.row<float>(row);
    for (std::int64_t c = 0; c < mean.shape[0]; ++c)
      out[c] += values[c] / static_cast<float>(count);
  }
  return {};
}

Status scores_by_head_norms(Context& context, ConstTensorView class_rows, ConstTensorView norms,
                            TensorView scores) {
  FOVEA_CHECK(check_f32_rank(context, "scores_by_head_norms class_rows", class_rows, 2));
  FOVEA_CHECK(check_f32_shape(context, "scores_by_head_norms norms", norms, class_rows.shape));
  const std::int64_t heads = class_rows.rows(), count = class_rows.shape[1];
  FOVEA_CHECK(check_f32_shape(context, "scores_by_head_norms scores", scores, {count}));
  if (count == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return scores_by_head_norms_cuda(context, class_rows, norms, scores);
#endif
  for (std::int64_t i = 0; i < count; ++i) {
    double total = kNormEpsilon, weighted = 0;
    for (std::int64_t head = 0; head < heads; ++head) {
      const double norm = norms.row<float>(head)[i];
      total += norm;
      weighted += norm * class_rows.row<float>(head)[i];
    }
    scores.as<float>()[i] = static_cast<float>(weighted / total);
  }
  return {};
}

Status blend_scores(Context& context, TensorView state, float old, ConstTensorView scores,
                    float fresh) {
  FOVEA_CHECK(check_f32_rank(context, "blend_scores state", state, 1));
  FOVEA_CHECK(check_f32_shape(context, "blend_scores scores", scores, state.shape));
  if (state.shape[0] == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return blend_scores_cuda(context, state, old, scores, fresh);
#endif
  for (std::int64_t i = 0; i < state.shape[0]; ++i) {
    float& value = state.as<float>()[i];
    value = old * value + fresh * scores.as<float>()[i];
  }
  return {};
}

}  // namespace fovea
