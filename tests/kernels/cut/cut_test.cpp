#include "kernels/ops/cut/cut.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kernels/fetch.h"
#include "support/numbers.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class CutTest : public DeviceTest<DeviceCase> {};

TEST_P(CutTest, scores_are_scaled_in_double_and_a_factor_of_zero_ends_them) {
  Context context = test_context(GetParam().device);
  Random random(3);
  std::vector<float> scores = random.normals(700);
  std::vector<double> factors;
  std::vector<float> expected;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    scores[i] = std::abs(scores[i]);
    factors.push_back(i % 7 == 0 ? 0.0 : std::exp(-1.3 * static_cast<double>(i) / 699));
    expected.push_back(static_cast<float>(static_cast<double>(scores[i]) * factors[i]));
  }
  scores[7] = std::numeric_limits<float>::quiet_NaN();
  GuardedTensor block({700}, scores);
  Placed placed(context, block);
  ASSERT_TRUE(scale_scores(context, placed.view(), factors));
  placed.fetch();
  EXPECT_EQ(block.values(), expected);
  EXPECT_TRUE(block.guards_intact());
  EXPECT_FALSE(scale_scores(context, placed.view(), std::span(factors).first(5)));
}

TEST_P(CutTest, rows_around_the_cut_close_up) {
  Context context = test_context(GetParam().device);
  Numbers kept(context, {1, 2, 6}), rows(context, std::vector<std::int32_t>(10, -1));
  // 3 rows, 7 of which 3 stay, 4 rows.
  ASSERT_TRUE(surviving_rows(context, kept.view(), 3, 7, rows.view()));
  EXPECT_EQ(rows.fetch(), (std::vector<std::int32_t>{0, 1, 2, 4, 5, 9, 10, 11, 12, 13}));
  // Nothing stays of the first 5.
  Numbers few(context, {-1, -1});
  ASSERT_TRUE(surviving_rows(context, ConstTensorView(kept.view()).slice(0, 0), 0, 5, few.view()));
  EXPECT_EQ(few.fetch(), (std::vector<std::int32_t>{5, 6}));
  EXPECT_FALSE(surviving_rows(context, kept.view(), 3, 2, rows.view()));
  EXPECT_FALSE(surviving_rows(context, kept.view(), 8, 7, rows.view()));
}

TEST_P(CutTest, many_rows_close_up_and_take_their_numbers_along) {
  Context context = test_context(GetParam().device);
  constexpr std::int32_t kFirst = 35, kPresent = 2880, kAfter = 29;
  std::vector<std::int32_t> chosen, expected(kFirst), numbers(kFirst + kPresent + kAfter);
  std::iota(expected.begin(), expected.end(), 0);
  for (std::int32_t i = 0; i < kPresent; i += 1 + i % 5) {
    chosen.push_back(i);
    expected.push_back(kFirst + i);
  }
  for (std::int32_t i = 0; i < kAfter; ++i) expected.push_back(kFirst + kPresent + i);
  for (std::size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = static_cast<std::int32_t>(i * 3 + 7);
  const std::vector<std::int32_t> nothing(expected.size(), -1);
  Numbers kept(context, chosen), rows(context, nothing), from(context, numbers),
      to(context, nothing);
  ASSERT_TRUE(surviving_rows(context, kept.view(), kFirst, kPresent, rows.view()));
  EXPECT_EQ(rows.fetch(), expected);
  ASSERT_TRUE(pick_numbers(context, from.view(), rows.view(), to.view()));
  for (std::int32_t& row : expected) row = row * 3 + 7;
  EXPECT_EQ(to.fetch(), expected);
  EXPECT_FALSE(pick_numbers(context, from.view(), rows.view(), from.view()));
}

TEST_P(CutTest, numbers_arrive_as_they_were_when_they_left) {
  Context context = test_context(GetParam().device);
  std::vector<std::int32_t> values(20000);  // some fit a slot, these do not
  std::iota(values.begin(), values.end(), 5);
  const std::vector<std::int32_t> few(values.begin(), values.begin() + 300);
  Numbers many_there(context, values), few_there(context, few),
      zeros(context, std::vector<std::int32_t>(300));
  const auto start = Milestone::mark(context);
  const auto nothing = Arriving::start(context, ConstTensorView(few_there.view()).slice(0, 0));
  const auto first = Arriving::start(context, few_there.view());
  ASSERT_TRUE(copy(context, zeros.view(), few_there.view()));
  const auto second = Arriving::start(context, few_there.view());
  const auto many = Arriving::start(context, many_there.view());
  const auto end = Milestone::mark(context);
  ASSERT_TRUE(start && nothing && first && second && many && end);
  const auto numbers = [](const Result<Arriving>& arriving) {
    const auto here = arriving->wait();
    EXPECT_TRUE(here);
    return std::vector<std::int32_t>(here->begin(), here->end());
  };
  EXPECT_EQ(numbers(second), std::vector<std::int32_t>(300, 0));
  EXPECT_EQ(numbers(first), few);
  EXPECT_EQ(numbers(many), values);
  EXPECT_TRUE(numbers(nothing).empty());
  const auto passed = end->ms_since(*start);
  ASSERT_TRUE(passed) << passed.error().to_string();
  EXPECT_GE(*passed, 0.0);
  EXPECT_FALSE(Arriving::start(context, GuardedTensor({3}, {1, 2, 3}).view()));
  EXPECT_FALSE(Milestone().ms_since(*start));
}

INSTANTIATE_TEST_SUITE_P(Devices, CutTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
