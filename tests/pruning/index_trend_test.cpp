#include "pruning/index_trend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "pruning/debias.h"
#include "pruning/debias_calibration.h"
#include "pruning/method.h"
#include "support/fake_stage.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::simple_layout;
using testing::TemporaryFolder;

const double kNone = std::numeric_limits<double>::quiet_NaN();

std::vector<double> exponential(double mu, double sigma, std::size_t count) {
  std::vector<double> curve;
  for (std::size_t i = 0; i < count; ++i) {
    curve.push_back(mu * std::exp(sigma * static_cast<double>(i) / static_cast<double>(count - 1)));
  }
  return curve;
}

// methods: attention debiasing, conformance test 8.
TEST(IndexTrend, the_fit_recovers_the_sigma_of_an_exponential) {
  for (const double sigma : {-3.0, -0.2, 0.0, 0.8504, 1.2, 2.6663, 20.0}) {
    for (const std::size_t count : {4U, 576U, 4608U}) {
      const auto fit = fit_trend(exponential(3e-4, sigma, count));
      ASSERT_TRUE(fit) << fit.error().to_string();
      EXPECT_NEAR(fit->sigma, sigma, 1e-6) << count;
      EXPECT_NEAR(fit->sigma_log, sigma, 1e-6) << count;
      if (sigma != 0.0) {
        EXPECT_NEAR(fit->explained, 1.0, 1e-9);
      }
    }
  }
}

TEST(IndexTrend, the_two_fits_differ_where_the_curve_is_no_exponential) {
  std::vector<double> curve = exponential(1, 1, 100);
  curve[0] = 0.1;  // a small mean pulls the line through logarithms far more
  const auto fit = fit_trend(curve);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->sigma, 1.0, 0.05);
  EXPECT_GT(fit->sigma_log, fit->sigma + 0.05);
}

TEST(IndexTrend, indices_without_scores_are_left_out) {
  std::vector<double> curve = exponential(2, 1.5, 50);
  curve[3] = kNone;
  curve[49] = kNone;
  const auto fit = fit_trend(curve);
  ASSERT_TRUE(fit);
  EXPECT_NEAR(fit->sigma, 1.5, 1e-6);
}

TEST(IndexTrend, refuses_what_has_no_trend) {
  EXPECT_FALSE(fit_trend({}));
  EXPECT_FALSE(fit_trend(std::vector<double>{1}));
  EXPECT_FALSE(fit_trend(std::vector<double>{0, 0, 0}));
  EXPECT_FALSE(fit_trend(std::vector<double>{kNone, 1, kNone}));
  EXPECT_FALSE(fit_trend(std::vector<double>{0, 0, 0, 1})) << "steeper than any sigma";
}

FakeStage stage_of(int visual, int cols, PictureSize picture) {
  SequenceLayout layout = simple_layout(1, visual, 1, cols);
  layout.pictures = {picture};
  for (VisualToken& token : layout.visual) token.width = token.height = 1;
  return FakeStage(std::move(layout));
}

void show(const ScoreSums& sums, FakeStage& stage, std::vector<float> scores, int index = 0) {
  const std::vector<float> before = scores;
  const auto left = sums.adjust(index, stage, scores);
  ASSERT_TRUE(left) << left.error().to_string();
  EXPECT_EQ(*left, static_cast<std::int64_t>(scores.size()));
  EXPECT_EQ(scores, before) << "it only looks";
}

TEST(ScoreSums, average_over_prompts_by_index) {
  const ScoreSums sums;
  FakeStage stage = stage_of(4, 2, {2, 2});
  show(sums, stage, {1, 2, 3, 4});
  show(sums, stage, {3, 2, 5, 0});
  show(sums, stage, {9, 9, 9, 9}, 1);  // another stage
  EXPECT_EQ(sums.mean().prompts, 2);
  EXPECT_EQ(sums.mean().score, (std::vector<double>{2, 2, 4, 2}));
}

TEST(ScoreSums, tokens_that_are_gone_leave_their_index_to_others) {
  const ScoreSums sums;
  FakeStage stage = stage_of(4, 2, {2, 2});
  show(sums, stage, {1, 1, 1, 1});
  stage.set_visual_ids({1, 3});
  show(sums, stage, {3, 5});
  EXPECT_EQ(sums.mean().score, (std::vector<double>{1, 2, 1, 3}));
}

TEST(ScoreSums, padding_is_left_out) {
  const ScoreSums sums;
  FakeStage wide = stage_of(16, 4, {4, 2});  // the first and the last row are padding
  std::vector<float> scores(16, 1.0F);
  scores[0] = 100;
  show(sums, wide, scores);
  const auto mean = sums.mean();
  ASSERT_EQ(mean.score.size(), 16U);
  EXPECT_TRUE(std::isnan(mean.score[0]));
  EXPECT_TRUE(std::isnan(mean.score[15]));
  EXPECT_EQ(mean.score[4], 1.0);
}

TEST(ScoreSums, the_most_frequent_number_of_tokens_counts) {
  const ScoreSums sums;
  FakeStage small = stage_of(4, 2, {2, 2}), large = stage_of(9, 3, {3, 3});
  show(sums, small, {1, 1, 1, 1});
  show(sums, large, std::vector<float>(9, 2));
  show(sums, large, std::vector<float>(9, 4));
  EXPECT_EQ(sums.prompts(), 3);
  EXPECT_EQ(sums.mean().prompts, 2);
  EXPECT_EQ(sums.mean().score, std::vector<double>(9, 3));
  EXPECT_TRUE(ScoreSums().mean().score.empty());
}

DebiasCalibration sample() {
  DebiasCalibration calibration;
  calibration.method = "fastv";
  calibration.layer = 2;
  calibration.fit = {1.2, 1.125, 0.75};
  calibration.mean_scores = {0.1 + 0.2, kNone, 0};
  calibration.questions = 5;
  calibration.model = {"a model", ""};
  return calibration;
}

TEST(DebiasCalibration, is_read_back_as_it_was_written) {
  const auto read = parse_debias_calibration(to_json(sample()));
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->method, "fastv");
  EXPECT_EQ(read->layer, 2);
  EXPECT_EQ(read->fit.sigma, 1.2);
  EXPECT_EQ(read->fit.sigma_log, 1.125);
  EXPECT_EQ(read->fit.explained, 0.75);
  ASSERT_EQ(read->mean_scores.size(), 3U);
  EXPECT_EQ(read->mean_scores[0], 0.1 + 0.2);
  EXPECT_TRUE(std::isnan(read->mean_scores[1]));
  EXPECT_EQ(read->questions, 5);
  EXPECT_EQ(read->model.id, "a model");
}

TEST(DebiasCalibration, says_which_field_is_wrong) {
  const std::string good = to_json(sample());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t place = text.find(from);
    EXPECT_NE(place, std::string::npos) << from;
    text.replace(place, from.size(), to);
    const auto read = parse_debias_calibration(text);
    EXPECT_FALSE(read) << text;
    return read ? std::string() : read.error().field;
  };
  EXPECT_EQ(with("\"debias\"", "\"schedule\""), "kind");
  EXPECT_EQ(with("\"fastv\"", "\"slowv\""), "method");
  EXPECT_EQ(with("\"layer\":2", "\"layer\":-1"), "layer");
  EXPECT_EQ(with("\"sigma\":1.2", "\"sigma\":51"), "sigma");
  EXPECT_EQ(with("\"sigma_log\":1.125", "\"sigma_log\":null"), "sigma_log");
  EXPECT_EQ(with("\"explained\":0.75", "\"explained\":2"), "explained");
  EXPECT_EQ(with("\"questions\":5", "\"questions\":0"), "questions");
  EXPECT_EQ(with("\"a model\"", "null"), "model");
  EXPECT_EQ(with("null,0", "null,-1"), "mean_scores");
  for (const char* text : {"", "[]", "{", "7"})
    EXPECT_FALSE(parse_debias_calibration(text)) << text;
}

TEST(DebiasCalibration, is_applied_to_the_method_it_was_made_for_and_refused_by_others) {
  const TemporaryFolder folder;
  const std::string path = folder.write("trend.json", to_json(sample()));
  const auto weights = IndexWeights::parse(path);
  ASSERT_TRUE(weights) << weights.error().to_string();
  EXPECT_EQ(*weights->weights(4), *IndexWeights::exponential(1.2)->weights(4));
  DebiasRequest request;
  request.weights = *weights;
  EXPECT_TRUE(debias_adjustments(request, "fastv"));
  const auto refused = debias_adjustments(request, "himap");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::usage);
  EXPECT_EQ(refused.error().file, path);
  EXPECT_EQ(refused.error().field, "--debias");
}

}  // namespace
}  // namespace fovea
