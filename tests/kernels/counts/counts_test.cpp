#include "kernels/ops/counts/counts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/ops/topk/topk.h"
#include "support/numbers.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class CountsTest : public DeviceTest<DeviceCase> {};

std::int32_t carrying(Context& context, std::vector<float> mass, double tau) {
  Scores given(context, std::move(mass));
  Numbers count(context, {-1});
  const Status status = tokens_carrying(context, given.view(), tau, count.view());
  EXPECT_TRUE(status) << status.error().to_string();
  return count.fetch().front();
}

TEST_P(CountsTest, as_many_tokens_carry_as_it_takes_to_reach_tau) {
  Context context = test_context(GetParam().device);
  EXPECT_EQ(carrying(context, {.125f, .5f, .125f, .25f}, .75), 2);  // .5 + .25
  EXPECT_EQ(carrying(context, {.125f, .5f, .125f, .25f}, .76), 3);  // and one of .125
  EXPECT_EQ(carrying(context, {.125f, .5f, .125f, .25f}, .5), 1);
  EXPECT_EQ(carrying(context, {2, 2, 2, 2}, .75), 3);  // of the total, whatever it is
  EXPECT_EQ(carrying(context, {.1f, .5f}, 0), 0);
  EXPECT_EQ(carrying(context, {}, .9), 0);
}

TEST_P(CountsTest, many_tokens_are_counted_as_one_after_another_would_count_them) {
  Context context = test_context(GetParam().device);
  Random random(8);
  std::vector<float> mass;
  for (int i = 0; i < 2945; ++i)
    mass.push_back(std::abs(random.normal()) * (i % 17 == 0 ? 9.0f : .1f));
  std::vector<float> sorted = mass;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  for (const double tau : {.5, .96, .975, .999}) {
    double total = 0, sum = 0;
    for (const float value : sorted) total += value;
    std::int32_t expected = 0;
    while (sum < tau * total) sum += sorted[static_cast<std::size_t>(expected++)];
    EXPECT_EQ(carrying(context, mass, tau), expected) << tau;
  }
}

TEST_P(CountsTest, the_best_of_a_list_are_counted_and_found_like_the_best_of_all) {
  Context context = test_context(GetParam().device);
  Random random(9);
  std::vector<float> scores;
  for (int i = 0; i < 700; ++i)
    scores.push_back(static_cast<float>(random.integer(0, 60)));  // ties
  scores[13] = scores[600] = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::int32_t> listed;
  for (std::int32_t i = 30; i < 640; ++i) listed.push_back(i);
  Scores there(context, scores);
  for (const std::int32_t count : {0, 1, 250, 700, 900}) {
    const auto best = top_k_ascending(scores, count);
    Numbers limit(context, {count}), found(context, {-1});
    ASSERT_TRUE(listed_among_best(context, there.view(), limit.view(), listed, found.view()));
    std::int32_t expected = 0;
    for (const std::int32_t index : best) expected += index >= 30 && index < 640 ? 1 : 0;
    EXPECT_EQ(found.fetch().front(), expected) << count;

    Numbers indices(context, std::vector<std::int32_t>(scores.size(), 5));
    constexpr std::int32_t kMost = 300;
    ASSERT_TRUE(best_indices(context, there.view(), kMost, limit.view(), indices.view()));
    EXPECT_EQ(limit.fetch().front(), std::min(count, kMost));
    std::vector<std::int32_t> kept = top_k_ascending(scores, std::min(count, kMost));
    kept.resize(scores.size(), -1);
    EXPECT_EQ(indices.fetch(), kept) << count;
  }
  listed.push_back(700);
  Numbers limit(context, {3}), found(context, {-1});
  EXPECT_FALSE(listed_among_best(context, there.view(), limit.view(), listed, found.view()));
}

TEST_P(CountsTest, scores_are_divided_one_by_one) {
  Context context = test_context(GetParam().device);
  Random random(10);
  const std::vector<float> scores = random.normals(333);
  std::vector<float> divisors, expected;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    divisors.push_back(static_cast<float>(1 + i % 33));
    expected.push_back(scores[i] / divisors[i]);
  }
  Scores there(context, scores);
  ASSERT_TRUE(divide_scores(context, there.view(), divisors));
  EXPECT_EQ(there.fetch(), expected);
}

TEST_P(CountsTest, what_lies_above_a_threshold_is_found_and_counted) {
  Context context = test_context(GetParam().device);
  std::vector<float> scores = Random(11).normals(577);
  scores[5] = std::numeric_limits<float>::quiet_NaN();
  Scores there(context, scores);
  for (const float threshold : {-9.0f, 0.25f, scores[7], 9.0f}) {
    std::vector<std::int32_t> expected;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] > threshold) expected.push_back(static_cast<std::int32_t>(i));
    }
    const auto number = static_cast<std::int32_t>(expected.size());
    expected.resize(scores.size(), -1);
    Numbers count(context, {-1}), indices(context, std::vector<std::int32_t>(scores.size(), 7));
    ASSERT_TRUE(indices_above(context, there.view(), threshold, count.view(), indices.view()));
    EXPECT_EQ(count.fetch().front(), number);
    EXPECT_EQ(indices.fetch(), expected) << threshold;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, CountsTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
