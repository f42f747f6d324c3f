#include "pruning/schedule_calibration.h"

#include <gtest/gtest.h>

#include "pruning/method.h"
#include "support/fake_stage.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::simple_layout;
using testing::TemporaryFolder;

ScheduleCalibration sample() {
  ScheduleCalibration calibration;
  calibration.layers = 4;
  calibration.visual = 100;
  calibration.stages = {{0, {40, false}}, {2, {10, false}}};
  calibration.change_points = {7, 0, 3, 0};
  calibration.questions = 5;
  calibration.model = {"a model", "00ff"};
  return calibration;
}

TEST(ScheduleCalibration, is_read_back_as_it_was_written) {
  const auto read = parse_schedule_calibration(to_json(sample()));
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->layers, 4);
  EXPECT_EQ(read->visual, 100);
  ASSERT_EQ(read->stages.size(), 2U);
  EXPECT_EQ(read->stages[1].layer, 2);
  EXPECT_EQ(read->stages[1].keep.tokens(100), 10);
  EXPECT_EQ(read->change_points, sample().change_points);
  EXPECT_EQ(read->questions, 5);
  EXPECT_EQ(read->model.id, "a model");
  EXPECT_EQ(read->model.sha256, "00ff");
}

TEST(ScheduleCalibration, says_which_field_is_wrong_and_how_a_right_file_is_made) {
  const std::string good = to_json(sample());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t place = text.find(from);
    EXPECT_NE(place, std::string::npos) << from;
    text.replace(place, from.size(), to);
    const auto read = parse_schedule_calibration(text);
    EXPECT_FALSE(read) << text;
    if (read) return std::string();
    EXPECT_EQ(read.error().code, ErrorCode::bad_input);
    EXPECT_NE(read.error().remedy.find("calibrate schedule"), std::string::npos);
    return read.error().field;
  };
  EXPECT_EQ(with("\"schedule\"", "\"exit\""), "kind");
  EXPECT_EQ(with("\"layers\": 4", "\"layers\": 0"), "layers");
  EXPECT_EQ(with("\"layers\": 4", "\"layers\": 5"), "change_points");
  EXPECT_EQ(with("\"visual\": 100", "\"visual\": 1.5"), "visual");
  EXPECT_EQ(with("\"keep\": 40", "\"keep\": 101"), "stages");
  EXPECT_EQ(with("\"keep\": 40", "\"keep\": 9"), "stages") << "counts must not rise";
  EXPECT_EQ(with("\"layer\": 2", "\"layer\": 0"), "stages") << "layers must rise";
  EXPECT_EQ(with("\"layer\": 2", "\"layer\": 4"), "stages");
  EXPECT_EQ(with("\"layer\": 2", "\"tier\": 2"), "stages");
  EXPECT_EQ(with("7,", "-7,"), "change_points");
  EXPECT_EQ(with("\"questions\": 5", "\"questions\": 0"), "questions");
  EXPECT_EQ(with("\"a model\"", "7"), "model");
  for (const char* text : {"", "[]", "{", "7"}) {
    EXPECT_FALSE(parse_schedule_calibration(text)) << text;
  }
  const TemporaryFolder folder;
  const auto read = read_schedule_calibration(folder.write("bad.json", "{}"));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().file, folder / "bad.json");
}

TEST(ScheduleCalibration, counts_follow_the_number_of_visual_tokens) {
  const auto stages = calibrated_stages(sample(), 4, 800);
  ASSERT_TRUE(stages);
  ASSERT_EQ(stages->size(), 2U);
  EXPECT_EQ(stages->at(0).layer, 0);
  EXPECT_EQ(stages->at(0).keep.tokens(800), 320);
  EXPECT_EQ(stages->at(1).keep.tokens(800), 80);
}

TEST(ScheduleCalibration, another_depth_is_refused) {
  const auto stages = calibrated_stages(sample(), 5, 100);
  ASSERT_FALSE(stages);
  EXPECT_EQ(stages.error().code, ErrorCode::usage);
  EXPECT_NE(stages.error().message.find("a model"), std::string::npos);
}

TEST(ScheduleCalibration, each_cut_leaves_a_quarter_unless_a_budget_scales_it) {
  const auto plain = stages_at({1, 4}, 12, 576, std::nullopt);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->at(0).keep.tokens(576), 144);
  EXPECT_EQ(plain->at(1).keep.tokens(576), 36);
  const auto solved = stages_at({1, 4}, 12, 576, 200.0);
  ASSERT_TRUE(solved);
  EXPECT_NEAR(entering_mean(*solved, CutSide::after, 12, 576), 200.0, 0.5);
  EXPECT_FALSE(stages_at({10}, 12, 576, 100.0)) << "cuts that late cannot reach it";
}

PruningPlan plan_of(MethodRequest request, int layers, int visual) {
  const auto policy = make_policy(request);
  EXPECT_TRUE(policy) << policy.error().to_string();
  const auto plan = (*policy)->plan(simple_layout(2, visual, 3), {.layers = layers, .heads = 2});
  EXPECT_TRUE(plan) << plan.error().to_string();
  return plan ? *plan : PruningPlan{};
}

TEST(ScheduleCalibration, adaptinfer_cuts_where_the_file_says) {
  const TemporaryFolder folder;
  MethodRequest request{.name = "adaptinfer"};
  request.config = folder.write("schedule.json", to_json(sample()));
  const PruningPlan plan = plan_of(request, 4, 100);
  ASSERT_EQ(plan.stages.size(), 2U);
  EXPECT_EQ(plan.stages[0].layer, 0);
  EXPECT_EQ(plan.stages[0].keep, 40);
  EXPECT_EQ(plan.stages[1].layer, 2);
  EXPECT_EQ(plan.stages[1].keep, 10);
  request.schedule.keep = {{50, false}, {20, false}};
  EXPECT_EQ(plan_of(request, 4, 100).stages[0].keep, 50) << "own counts at its layers";
  request.schedule.preset = "64";
  const auto both = make_policy(request);
  ASSERT_TRUE(both);
  const auto refused = (*both)->plan(simple_layout(2, 100, 3), {.layers = 4, .heads = 2});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().field, "--prune-preset");
}

TEST(ScheduleCalibration, an_even_schedule_divides_the_layers_into_equal_parts) {
  MethodRequest request{.name = "adaptinfer"};
  request.options["schedule"] = "even";
  const PruningPlan plan = plan_of(request, 32, 576);
  ASSERT_EQ(plan.stages.size(), 3U);
  EXPECT_EQ(plan.stages[0].layer, 7);
  EXPECT_EQ(plan.stages[1].layer, 15);
  EXPECT_EQ(plan.stages[2].layer, 23);
  EXPECT_EQ(plan.stages[0].keep, 133) << "the preset's counts";
  request.schedule.budget = 288;
  EXPECT_EQ(plan_of(request, 32, 576).stages[0].layer, 7);
  request.schedule.layers = {1, 2, 3};
  const auto policy = make_policy(request);
  ASSERT_TRUE(policy);
  EXPECT_FALSE((*policy)->plan(simple_layout(2, 576, 3), {.layers = 32, .heads = 2}));
}

}  // namespace
}  // namespace fovea
