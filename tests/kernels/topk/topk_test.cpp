#include "kernels/ops/topk/topk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "support/tensors.h"

namespace fovea::testing {
namespace {

using Indices = std::vector<std::int32_t>;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// By a full stable sort, with NaN below everything.
Indices ranked_by_sorting(const std::vector<float>& scores, std::size_t k) {
  Indices all(scores.size());
  std::iota(all.begin(), all.end(), 0);
  const auto score = [&](std::int32_t i) {
    const float value = scores[static_cast<std::size_t>(i)];
    return std::pair(!std::isnan(value), std::isnan(value) ? 0.0f : value);
  };
  std::stable_sort(all.begin(), all.end(),
                   [&](std::int32_t a, std::int32_t b) { return score(a) > score(b); });
  all.resize(std::min(k, all.size()));
  return all;
}

TEST(TopK, equals_a_full_sort_on_random_scores_with_ties_and_nan) {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> scores(static_cast<std::size_t>(random.integer(1, 700)));
    for (float& score : scores) {
      score = static_cast<float>(random.integer(-20, 20));
      if (random.integer(0, 19) == 0) score = kNan;
      if (random.integer(0, 99) == 0) score = -kInfinity;
    }
    const auto k = static_cast<std::size_t>(random.integer(0, 710));
    Indices expected = ranked_by_sorting(scores, k);
    EXPECT_EQ(top_k_ranked(scores, static_cast<std::int64_t>(k)), expected);
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(top_k_ascending(scores, static_cast<std::int64_t>(k)), expected);
  }
}

TEST(TopK, equal_scores_prefer_the_lower_index) {
  const std::vector<float> scores = {1, 2, 1, 2, 2, 0.0f, -0.0f};
  EXPECT_EQ(top_k_ascending(scores, 2), (Indices{1, 3}));
  EXPECT_EQ(top_k_ranked(scores, 4), (Indices{1, 3, 4, 0}));
  EXPECT_EQ(top_k_ranked(scores, 7), (Indices{1, 3, 4, 0, 2, 5, 6}));
}

TEST(TopK, nan_is_smallest_even_below_minus_infinity) {
  const std::vector<float> scores = {kNan, -kInfinity, 1.0f, kNan};
  EXPECT_EQ(top_k_ranked(scores, 4), (Indices{2, 1, 0, 3}));
}

TEST(TopK, k_is_clamped) {
  const std::vector<float> scores = {3, 1, 2};
  EXPECT_TRUE(top_k_ascending(scores, 0).empty());
  EXPECT_TRUE(top_k_ranked(scores, -5).empty());
  EXPECT_EQ(top_k_ascending(scores, 99), (Indices{0, 1, 2}));
  EXPECT_TRUE(top_k_ascending({}, 3).empty());
}

TEST(ArgMax, first_of_the_largest_and_never_nan_beside_numbers) {
  EXPECT_EQ(arg_max(std::vector<float>{1, 5, 2, 5}), 1);
  EXPECT_EQ(arg_max(std::vector<float>{kNan, -kInfinity, kNan}), 1);
  EXPECT_EQ(arg_max(std::vector<float>{kNan, kNan}), 0);
  EXPECT_EQ(arg_max(std::vector<float>{7}), 0);
  EXPECT_EQ(arg_max({}), -1);
}

}  // namespace
}  // namespace fovea::testing
