#include "vision/vit_calibration.h"

#include <gtest/gtest.h>

#include <vector>

#include "vision/vit_towers.h"

namespace fovea {
namespace {

using namespace testing;  // NOLINT: the towers' vocabulary

class VitCalibrationTest : public ::testing::Test {
 protected:
  VitCalibrationTest() {
    VitConfig config = small_config();
    config.layers = 8;
    Context context = cpu_context(2);
    auto encoder = VitEncoder::random(context, config, LinearDType::f32, 8, 3);
    EXPECT_TRUE(encoder);
    encoder_.emplace(std::move(*encoder));
    for (std::uint64_t i = 0; i < 12; ++i) {
      pictures_.push_back(random_pixels(config, 60 + i));
      pixels_.push_back(pixels_of(config, pictures_.back()));
    }
  }
  Result<VitCalibration> calibrate(double budget, VitScoreState state = VitScoreState::last,
                                   std::vector<int> blocks = {}, std::int64_t batch = 5) {
    Context context = cpu_context(2);
    VitCalibrationRequest request;
    request.budget = budget;
    request.state = state;
    request.blocks = std::move(blocks);
    request.batch = batch;
    return calibrate_vit(context, *encoder_, pixels_, request);
  }
  /// Mean work of the sample pictures under thresholds, measured by pruning them.
  double measured(const VitThresholds& thresholds) {
    const VitConfig& config = encoder_->config();
    VitPruneReducer reducer(thresholds.settings_for(config.patches()), config);
    VitHooks hooks;
    hooks.reducer = &reducer;
    EXPECT_FALSE(run_batch(*encoder_, pictures_, hooks).error);
    double total = 0;
    for (const VitPruneRecord& record : reducer.records()) {
      total += vit_work(config).gflops(record.tokens_entering);
    }
    return total / static_cast<double>(pictures_.size());
  }

  std::optional<VitEncoder> encoder_;
  std::vector<std::vector<float>> pictures_;
  std::vector<Tensor> pixels_;
};

TEST_F(VitCalibrationTest, pruning_the_sample_costs_what_was_promised) {
  const double whole = vit_work(encoder_->config())
                           .gflops(std::vector<std::int64_t>(8, encoder_->config().tokens()));
  for (const VitScoreState state : {VitScoreState::last, VitScoreState::accu, VitScoreState::ema}) {
    for (const double budget : {.6, .7, .85}) {
      const auto found = calibrate(budget, state);
      ASSERT_TRUE(found) << found.error().to_string();
      EXPECT_EQ(found->thresholds.blocks, (std::vector<int>{3, 5, 7}));
      EXPECT_EQ(found->thresholds.state, state);
      EXPECT_EQ(found->thresholds.patches, 25);
      EXPECT_EQ(found->pictures, 12);
      EXPECT_NEAR(measured(found->thresholds), found->gflops, 1e-12);
      EXPECT_NEAR(found->gflops / whole, found->share, 1e-12);
      // Twelve pictures of 25 patches: one patch more or less moves the mean by under a hundredth.
      EXPECT_NEAR(found->share, budget, .01);
    }
  }
}

TEST_F(VitCalibrationTest, the_whole_budget_keeps_everything) {
  const auto found = calibrate(1.0);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->survivors, (std::vector<double>{25, 25, 25}));
  EXPECT_DOUBLE_EQ(found->share, 1.0);
}

TEST_F(VitCalibrationTest, batches_change_no_threshold) {
  const auto one = calibrate(.7, VitScoreState::last, {4, 6}, 1);
  const auto many = calibrate(.7, VitScoreState::last, {4, 6}, 16);
  ASSERT_TRUE(one && many);
  EXPECT_EQ(one->thresholds.thresholds, many->thresholds.thresholds);
}

TEST_F(VitCalibrationTest, what_cannot_be_met_is_a_usage_error_with_the_range) {
  for (const double budget : {.1, 1.1, -1.0}) {
    const auto found = calibrate(budget);
    ASSERT_FALSE(found) << budget;
    EXPECT_EQ(found.error().code, ErrorCode::usage);
    EXPECT_NE(found.error().remedy.find("from 0."), std::string::npos);
  }
  EXPECT_FALSE(calibrate(.7, VitScoreState::last, {1}));
  EXPECT_FALSE(calibrate(.7, VitScoreState::last, {5, 8}));
  pixels_.clear();
  EXPECT_FALSE(calibrate(.7));
}

}  // namespace
}  // namespace fovea
