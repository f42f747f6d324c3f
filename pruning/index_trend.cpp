#include "pruning/index_trend.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "pruning/debias.h"

namespace fovea {

Result<std::int64_t> ScoreSums::adjust(int stage_index, const StageInput& input,
                                       std::span<float> scores) const {
  const auto present = static_cast<std::int64_t>(scores.size());
  if (stage_index != stage_) return present;
  const SequenceLayout& layout = input.layout();
  ++prompts_;
  const auto cells = static_cast<std::size_t>(
      std::count_if(layout.visual.begin(), layout.visual.end(),
                    [](const VisualToken& token) { return token.row >= 0; }));
  if (by_length_.size() >= kMostLengths && !by_length_.contains(cells)) return present;
  constexpr double kHalf = 0.5;
  FOVEA_TRY(const std::vector<bool> in_picture, tokens_in_picture(layout, kHalf));
  Sums& sums = by_length_[cells];
  sums.sum.resize(cells, 0.0);
  sums.count.resize(cells, 0);
  ++sums.prompts;
  const std::vector<std::int32_t> indices = cell_indices(layout);
  const auto ids = input.visual_ids();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto id = static_cast<std::size_t>(ids[i]);
    if (indices[id] < 0 || !in_picture[id] || !std::isfinite(scores[i])) continue;
    const auto index = static_cast<std::size_t>(indices[id]);
    sums.sum[index] += scores[i];
    ++sums.count[index];
  }
  return present;
}

ScoreSums::Mean ScoreSums::mean() const {
  const auto most = std::max_element(
      by_length_.begin(), by_length_.end(),
      [](const auto& a, const auto& b) { return a.second.prompts < b.second.prompts; });
  Mean mean;
  if (most == by_length_.end()) return mean;
  const Sums& sums = most->second;
  mean.prompts = sums.prompts;
  for (std::size_t i = 0; i < sums.sum.size(); ++i) {
    mean.score.push_back(sums.count[i] > 0 ? sums.sum[i] / static_cast<double>(sums.count[i])
                                           : std::numeric_limits<double>::quiet_NaN());
  }
  return mean;
}

namespace {

constexpr double kLargestSigma = 50;

struct Points {
  std::vector<double> x, y;
};

/// Sums over the points with e = exp(sigma (x - 1)), which stays at most 1 for sigma above 0 and is
/// scaled alike in every term that is compared.
struct Moments {
  double ye = 0, ee = 0, xye = 0, xee = 0;

  Moments(const Points& points, double sigma) {
    const double origin = sigma > 0 ? 1 : 0;
    for (std::size_t i = 0; i < points.x.size(); ++i) {
      const double e = std::exp(sigma * (points.x[i] - origin));
      ye += points.y[i] * e;
      ee += e * e;
      xye += points.x[i] * points.y[i] * e;
      xee += points.x[i] * e * e;
    }
  }
  /// What the best mu leaves explained of the sum of squares: the larger the better.
  double explained() const { return ye * ye / ee; }
  /// Sign of its derivative by sigma.
  double slope() const { return xye * ee - ye * xee; }
};

Result<double> least_squares(const Points& points) {
  constexpr double kStep = 0.25;
  double best = -kLargestSigma, best_value = -1;
  for (double sigma = -kLargestSigma; sigma <= kLargestSigma; sigma += kStep) {
    const double value = Moments(points, sigma).explained();
    if (value > best_value) {
      best_value = value;
      best = sigma;
    }
  }
  double low = best - kStep, high = best + kStep;
  if (best <= -kLargestSigma || best >= kLargestSigma) {
    return make_error(ErrorCode::usage,
                      "the scores follow no exponential with a sigma from -50 to 50");
  }
  for (int step = 0; step < 100; ++step) {
    const double middle = 0.5 * (low + high);
    (Moments(points, middle).slope() > 0 ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double slope_of_line(const Points& points) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (std::size_t i = 0; i < points.x.size(); ++i) {
    if (!(points.y[i] > 0)) continue;
    const double log = std::log(points.y[i]);
    n += 1;
    x += points.x[i];
    y += log;
    xx += points.x[i] * points.x[i];
    xy += points.x[i] * log;
  }
  const double spread = n * xx - x * x;
  return spread > 0 ? (n * xy - x * y) / spread : 0;
}

}  // namespace

Result<TrendFit> fit_trend(std::span<const double> mean) {
  Points points;
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < mean.size(); ++i) {
    if (!std::isfinite(mean[i])) continue;
    points.x.push_back(static_cast<double>(i) / static_cast<double>(mean.size() - 1));
    points.y.push_back(mean[i]);
    sum += mean[i];
    squares += mean[i] * mean[i];
  }
  const auto count = static_cast<double>(points.y.size());
  if (points.y.size() < 2 || !(sum > 0)) {
    return make_error(ErrorCode::usage,
                      "a trend needs scores above 0 at 2 indices or more, found " +
                          std::to_string(points.y.size()));
  }
  TrendFit fit;
  FOVEA_TRY(fit.sigma, least_squares(points));
  fit.sigma_log = slope_of_line(points);
  const double variance = squares - sum * sum / count;
  const double left = squares - Moments(points, fit.sigma).explained();
  fit.explained = variance > 0 ? std::clamp(1 - left / variance, 0.0, 1.0) : 0;
  return fit;
}

}  // namespace fovea
