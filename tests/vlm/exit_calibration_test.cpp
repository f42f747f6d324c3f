#include "vlm/exit_calibration.h"

#include <gtest/gtest.h>

#include <limits>

namespace fovea {
namespace {

ExitThreshold calibrated(std::vector<double> scores, double wanted) {
  const auto found = calibrate_exit(std::move(scores), wanted);
  EXPECT_TRUE(found) << found.error().to_string();
  return found ? *found : ExitThreshold{};
}

std::size_t above(const std::vector<double>& scores, double threshold) {
  std::size_t count = 0;
  for (const double score : scores) count += score > threshold ? 1 : 0;
  return count;
}

TEST(ExitCalibration, the_share_wanted_lies_above_the_threshold) {
  const std::vector<double> scores{.5, .9, .1, .7, .3};
  for (std::size_t exits = 0; exits <= scores.size(); ++exits) {
    const ExitThreshold found = calibrated(scores, static_cast<double>(exits) / 5.0);
    EXPECT_EQ(found.exits, exits);
    EXPECT_EQ(above(scores, found.threshold), exits);
    EXPECT_DOUBLE_EQ(found.share, static_cast<double>(exits) / 5.0);
  }
}

TEST(ExitCalibration, rounding_moves_no_question_across) {
  const double threshold = calibrated({.5, .9, .1, .7, .3}, .4).threshold;
  EXPECT_DOUBLE_EQ(threshold, .6);
  EXPECT_DOUBLE_EQ(calibrated({.5, .25}, 0).threshold, .75);
}

TEST(ExitCalibration, equal_scores_exit_together) {
  const std::vector<double> scores{.8, .5, .5, .5, .2};
  const ExitThreshold few = calibrated(scores, .4);  // 2 wanted: 1 or 4 are possible
  EXPECT_EQ(few.exits, 1U);
  EXPECT_EQ(above(scores, few.threshold), 1U);
  const ExitThreshold many = calibrated(scores, .6);
  EXPECT_EQ(many.exits, 4U);
  EXPECT_EQ(above(scores, many.threshold), 4U);
}

TEST(ExitCalibration, between_two_shares_as_near_the_one_with_fewer_exits) {
  EXPECT_EQ(calibrated({.8, .6}, .25).exits, 0U);
}

TEST(ExitCalibration, a_score_of_0_never_exits) {
  const ExitThreshold found = calibrated({.5, 0.0}, 1.0);
  EXPECT_EQ(found.exits, 1U);
  EXPECT_EQ(above({.5, 0.0}, found.threshold), 1U);
  EXPECT_EQ(calibrated({0.0, 0.0}, 1.0).exits, 0U);
}

TEST(ExitCalibration, what_is_no_share_or_score_is_refused) {
  EXPECT_FALSE(calibrate_exit({}, .5));
  EXPECT_FALSE(calibrate_exit({.5}, 1.5));
  EXPECT_FALSE(calibrate_exit({.5}, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_FALSE(calibrate_exit({.5, std::numeric_limits<double>::quiet_NaN()}, .5));
  EXPECT_FALSE(calibrate_exit({1.5}, .5));
}

}  // namespace
}  // namespace fovea
