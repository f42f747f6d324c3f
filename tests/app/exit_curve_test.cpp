#include "app/eval/exit_curve.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fovea::app {
namespace {

Outcome pair(bool guide_right, bool model_right, double score, double confidence) {
  Outcome outcome;
  outcome.state = Outcome::State::answered;
  outcome.ran = true;
  Json guide = Json::object();
  guide.set("text", "a");
  guide.set("answer_score", guide_right ? 1.0 : 0.0);
  guide.set("confidence", confidence);
  guide.set("score", score);
  guide.set("total_ms", 10.0);
  guide.set("consistency_ms", 4.0);
  guide.set("model_text", "b");
  guide.set("model_answer_score", model_right ? 1.0 : 0.0);
  guide.set("model_total_ms", 100.0);
  outcome.guide = guide;
  return outcome;
}

/// Ten questions: the guide is right where its score is high, the large model always.
std::vector<Outcome> ten() {
  std::vector<Outcome> outcomes;
  for (int i = 0; i < 10; ++i) {
    outcomes.push_back(pair(i >= 5, true, 0.1 * i, i % 2 == 0 ? 0.9 : 0.1));
  }
  return outcomes;
}

ExitCurve curve_of(const std::vector<Outcome>& outcomes) {
  std::vector<std::size_t> clusters(outcomes.size());
  for (std::size_t i = 0; i < clusters.size(); ++i) clusters[i] = i;
  return exit_curve("sgl", outcomes, Bootstrap(clusters, clusters.size(), 50, 1));
}

TEST(ExitCurve, by_score_the_guide_answers_where_it_is_surest) {
  const ExitCurve curve = curve_of(ten());
  ASSERT_EQ(curve.series.size(), 3U);
  const auto& points = curve.series[0].points;
  ASSERT_EQ(points.size(), 11U);
  EXPECT_DOUBLE_EQ(*points[0].accuracy, 1.0);
  EXPECT_DOUBLE_EQ(*points[5].accuracy, 1.0) << "its five surest answers are right";
  EXPECT_DOUBLE_EQ(*points[8].accuracy, 0.7);
  EXPECT_DOUBLE_EQ(*points[10].accuracy, 0.5) << "the guide alone";
  EXPECT_DOUBLE_EQ(*points[0].total_ms, 110.0);
  EXPECT_DOUBLE_EQ(*points[5].total_ms, 60.0);
  EXPECT_DOUBLE_EQ(*points[10].total_ms, 10.0);
}

TEST(ExitCurve, only_the_score_pays_for_the_second_pass) {
  const ExitCurve curve = curve_of(ten());
  EXPECT_EQ(curve.series[1].by, "confidence");
  EXPECT_DOUBLE_EQ(*curve.series[1].points[0].total_ms, 106.0);
  EXPECT_DOUBLE_EQ(*curve.series[2].points[10].total_ms, 6.0);
  // By confidence the even questions leave first: 0 2 4 are wrong, 6 and 8 right.
  EXPECT_DOUBLE_EQ(*curve.series[1].points[5].accuracy, 0.7);
}

TEST(ExitCurve, at_random_every_question_counts_as_both_answers) {
  const ExitSeries random = curve_of(ten()).series[2];
  EXPECT_EQ(random.by, "random");
  EXPECT_DOUBLE_EQ(*random.points[4].accuracy, 0.8);
  EXPECT_DOUBLE_EQ(*random.points[4].total_ms, 66.0);
}

TEST(ExitCurve, what_failed_is_wrong_and_takes_no_time) {
  std::vector<Outcome> outcomes = ten();
  outcomes.push_back(failed_outcome(make_error(ErrorCode::bad_input, "no picture")));
  outcomes.emplace_back();  // skipped
  const auto points = curve_of(outcomes).series[0].points;
  EXPECT_DOUBLE_EQ(*points[0].accuracy, 10.0 / 11);
  EXPECT_DOUBLE_EQ(*points[0].total_ms, 110.0);
}

TEST(ExitCurve, the_table_of_numbers_has_a_line_for_each_share_and_choice) {
  const std::string csv = exit_csv({curve_of(ten())});
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 3 * 11);
  EXPECT_EQ(csv.rfind("setting,exit_by,share,accuracy,low,high,total_ms\r\n", 0), 0U);
  EXPECT_NE(csv.find("sgl,score,0.8,0.7,"), std::string::npos) << csv;
  EXPECT_TRUE(draw_chart(exit_chart({curve_of(ten())}, "t")));
}

}  // namespace
}  // namespace fovea::app
