#include "kernels/ops/topk/topk.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fovea {
namespace {

/// A strict total order, so that neither the algorithm nor the library decides ties.
struct Better {
  std::span<const float> scores;

  bool operator()(std::int32_t a, std::int32_t b) const {
    const float left = scores[static_cast<std::size_t>(a)];
    const float right = scores[static_cast<std::size_t>(b)];
    const bool left_nan = std::isnan(left);
    const bool right_nan = std::isnan(right);
    if (left_nan != right_nan) return right_nan;
    if (!left_nan && left != right) return left > right;
    return a < b;
  }
};

/// The k best indices, in no order.
std::vector<std::int32_t> select(std::span<const float> scores, std::int64_t k) {
  const auto count = static_cast<std::int64_t>(scores.size());
  k = std::clamp<std::int64_t>(k, 0, count);
  std::vector<std::int32_t> indices(scores.size());
  std::iota(indices.begin(), indices.end(), 0);
  if (k < count)
    std::nth_element(indices.begin(), indices.begin() + k, indices.end(), Better{scores});
  indices.resize(static_cast<std::size_t>(k));
  return indices;
}

}  // namespace

std::vector<std::int32_t> top_k_ascending(std::span<const float> scores, std::int64_t k) {
  std::vector<std::int32_t> chosen = select(scores, k);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::vector<std::int32_t> top_k_ranked(std::span<const float> scores, std::int64_t k) {
  std::vector<std::int32_t> chosen = select(scores, k);
  std::sort(chosen.begin(), chosen.end(), Better{scores});
  return chosen;
}

std::int32_t arg_max(std::span<const float> values) {
  if (values.empty()) return -1;
  std::size_t best = 0;
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (values[i] > values[best] || (std::isnan(values[best]) && !std::isnan(values[i]))) best = i;
  }
  return static_cast<std::int32_t>(best);
}

}  // namespace fovea
