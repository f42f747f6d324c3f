#include "pruning/change_points.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace fovea {

std::size_t break_point(std::span<const double> curve) {
  // The squared distances to a part's mean are its sum of squares less sum^2 / length; the squares
  // are the same wherever the curve is cut. Taking the mean out first keeps the sums small.
  const double mean =
      std::accumulate(curve.begin(), curve.end(), 0.0) / static_cast<double>(curve.size());
  double total = 0;
  for (const double value : curve) total += value - mean;
  double before = 0, best_gain = -1;
  std::size_t best = 1;
  for (std::size_t b = 1; b < curve.size(); ++b) {
    before += curve[b - 1] - mean;
    const double after = total - before;
    const double gain = before * before / static_cast<double>(b) +
                        after * after / static_cast<double>(curve.size() - b);
    if (gain > best_gain) {
      best_gain = gain;
      best = b;
    }
  }
  return best;
}

Status ChangePoints::add(const std::vector<std::vector<float>>& attention) {
  const auto wrong = [](std::string message) {
    return make_error(ErrorCode::usage, std::move(message)).in_field("attention");
  };
  const std::size_t layers = histogram_.size();
  if (attention.size() != layers || layers < 2) {
    return wrong("change points need the attention of each of at least 2 layers, found " +
                 std::to_string(attention.size()) + " of " + std::to_string(layers));
  }
  const std::size_t tokens = attention[0].size();
  if (tokens == 0) return wrong("a sample without visual tokens has no change points");
  std::vector<double> sums(tokens, 0.0);
  for (const auto& row : attention) {
    if (row.size() != tokens) return wrong("layers differ in their number of visual tokens");
    for (std::size_t token = 0; token < tokens; ++token) {
      if (!std::isfinite(row[token]) || row[token] < 0) {
        return wrong("attention is a number of at least 0");
      }
      sums[token] += row[token];
    }
  }
  std::vector<std::size_t> order(tokens);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::size_t count = (tokens + kTokensPerChosen - 1) / kTokensPerChosen;
  std::partial_sort(
      order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
      [&](std::size_t a, std::size_t b) { return sums[a] != sums[b] ? sums[a] > sums[b] : a < b; });
  std::vector<double> curve(layers);
  for (std::size_t i = 0; i < count; ++i) {
    double sum = 0;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      sum += attention[layer][order[i]];
      curve[layer] = sum;
    }
    ++histogram_[break_point(curve) - 1];
  }
  ++samples_;
  return {};
}

std::vector<int> densest_layers(std::span<const std::int64_t> histogram, int count) {
  const int layers = static_cast<int>(histogram.size());
  const int apart = layers / (4 * std::max(count, 1));
  std::vector<int> order(histogram.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return histogram[static_cast<std::size_t>(a)] > histogram[static_cast<std::size_t>(b)];
  });
  std::vector<int> chosen;
  for (const int layer : order) {
    if (static_cast<int>(chosen.size()) >= count) break;
    if (histogram[static_cast<std::size_t>(layer)] <= 0) break;
    const bool clear = std::all_of(chosen.begin(), chosen.end(),
                                   [&](int other) { return std::abs(layer - other) > apart; });
    if (clear) chosen.push_back(layer);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace fovea
