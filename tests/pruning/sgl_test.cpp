// SGL in the large model: where it cuts, and whose ranking it follows.

#include "pruning/methods/sgl.h"

#include <gtest/gtest.h>

#include "pruning/accounting.h"
#include "support/fake_stage.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::kept;
using testing::simple_layout;

ModelShape shape_of(int layers) {
  return {.layers = layers, .heads = 2, .kv_heads = 2, .hidden_size = 8};
}

std::shared_ptr<const GuideRanking> ranking(const SequenceLayout& layout,
                                            std::vector<float> importance) {
  return std::make_shared<const GuideRanking>(GuideRanking{std::move(importance), layout.visual});
}

/// All tokens alike.
std::shared_ptr<const GuideRanking> flat_ranking(const SequenceLayout& layout) {
  return ranking(layout, std::vector<float>(layout.visual.size(), 1.0F));
}

PruningPlan plan_of(Sgl& method, const SequenceLayout& layout, int layers) {
  const auto plan = method.plan(layout, shape_of(layers));
  EXPECT_TRUE(plan) << plan.error().to_string();
  return plan ? *plan : PruningPlan{};
}

std::vector<std::int32_t> select(Policy& method, FakeStage& stage) {
  Context context;
  Selection selection;
  const Status status = method.select(context, 0, stage, selection);
  EXPECT_TRUE(status) << status.error().to_string();
  return kept(selection);
}

TEST(Sgl, layer_and_count_are_cut_off_not_rounded) {
  const SequenceLayout layout = simple_layout(35, 576, 29);
  struct Case {
    double fraction;
    int layer;
    std::int64_t keep;
  };
  for (const Case& c : {Case{0.4, 19, 230}, Case{0.2, 9, 115}, Case{0.05, 2, 28}}) {
    Sgl method({}, {c.fraction, c.fraction});
    method.rank_by(flat_ranking(layout));
    const PruningPlan plan = plan_of(method, layout, 48);
    ASSERT_EQ(plan.stages.size(), 1U);
    EXPECT_EQ(plan.stages[0].when, Hook::before_layer);
    EXPECT_EQ(plan.stages[0].layer, c.layer);
    EXPECT_EQ(plan.stages[0].keep, c.keep);
    EXPECT_EQ(plan.stages[0].attention, AttentionSource::none) << "the large model exports nothing";
    EXPECT_EQ(plan.positions, PositionMode::original);
  }
}

TEST(Sgl, presets_retain_64_35_and_9_per_cent_of_the_token_layers) {
  // A count of tokens that the three ratios divide.
  const SequenceLayout layout = simple_layout(1, 1000, 1);
  struct Case {
    const char* preset;
    double retained;
  };
  for (const Case& c : {Case{"64", 0.6375}, Case{"35", 0.35}, Case{"9", 4.3 / 48}}) {
    Sgl method({.preset = c.preset}, {});
    method.rank_by(flat_ranking(layout));
    const PruningPlan plan = plan_of(method, layout, 48);
    ASSERT_EQ(plan.stages.size(), 1U);
    PruningRecord record;
    record.initial = 1000;
    record.stages.push_back(
        {.layer = plan.stages[0].layer,
         .kept = std::vector<std::int32_t>(static_cast<std::size_t>(plan.stages[0].keep))});
    const BudgetReport report = account(record, {.layers = 48}, 0);
    EXPECT_NEAR(report.entering_mean / 1000, c.retained, 1e-12) << c.preset;
  }
}

TEST(Sgl, the_released_scripts_fractions_are_the_default) {
  const SequenceLayout layout = simple_layout(1, 100, 1);
  Sgl method({}, {});
  method.rank_by(flat_ranking(layout));
  const PruningPlan plan = plan_of(method, layout, 12);
  ASSERT_EQ(plan.stages.size(), 1U);
  EXPECT_EQ(plan.stages[0].layer, 4);
  EXPECT_EQ(plan.stages[0].keep, 40);
}

TEST(Sgl, one_fraction_alone_leaves_the_other_to_the_preset) {
  const SequenceLayout layout = simple_layout(1, 100, 1);
  Sgl method({.preset = "35"}, {.ratio = 0.1});
  method.rank_by(flat_ranking(layout));
  const PruningPlan plan = plan_of(method, layout, 48);
  ASSERT_EQ(plan.stages.size(), 1U);
  EXPECT_EQ(plan.stages[0].layer, 9);
  EXPECT_EQ(plan.stages[0].keep, 10);
}

TEST(Sgl, a_ratio_of_one_at_any_layer_and_a_layer_of_one_prune_nothing) {
  const SequenceLayout layout = simple_layout(1, 100, 1);
  for (const double layer : {0.0, 0.3, 1.0}) {
    Sgl method({}, {layer, 1.0});
    method.rank_by(flat_ranking(layout));
    EXPECT_TRUE(plan_of(method, layout, 12).stages.empty());
  }
  Sgl past_the_end({}, {1.0, 0.1});
  past_the_end.rank_by(flat_ranking(layout));
  EXPECT_TRUE(plan_of(past_the_end, layout, 12).stages.empty());
}

TEST(Sgl, a_ratio_of_zero_drops_every_visual_token) {
  const SequenceLayout layout = simple_layout(1, 3, 1);
  Sgl method({}, {0.5, 0.0});
  method.rank_by(flat_ranking(layout));
  ASSERT_EQ(plan_of(method, layout, 4).stages.size(), 1U);
  FakeStage stage(layout);
  EXPECT_TRUE(select(method, stage).empty());
}

TEST(Sgl, own_layers_counts_and_budgets_come_before_fractions) {
  const SequenceLayout layout = simple_layout(1, 100, 1);
  Sgl own({.layers = {3}, .keep = {{7, false}}}, {0.5, 0.5});
  own.rank_by(flat_ranking(layout));
  const PruningPlan plan = plan_of(own, layout, 12);
  ASSERT_EQ(plan.stages.size(), 1U);
  EXPECT_EQ(plan.stages[0].layer, 3);
  EXPECT_EQ(plan.stages[0].keep, 7);

  Sgl budget({.budget = 60.0}, {0.5, 0.5});
  budget.rank_by(flat_ranking(layout));
  const PruningPlan solved = plan_of(budget, layout, 12);
  ASSERT_EQ(solved.stages.size(), 1U);
  EXPECT_EQ(solved.stages[0].layer, 6);
  EXPECT_EQ(solved.stages[0].keep, 20) << "(6 x 100 + 6 x 20) / 12 = 60";
}

TEST(Sgl, the_guides_best_tokens_are_kept_whatever_the_model_attends_to) {
  const SequenceLayout layout = simple_layout(2, 5, 3);
  Sgl method({}, {0.0, 0.6});
  method.rank_by(ranking(layout, {.1F, .5F, .3F, .5F, .2F}));
  ASSERT_EQ(plan_of(method, layout, 4).stages[0].keep, 3);
  FakeStage stage(layout);
  EXPECT_EQ(select(method, stage), (std::vector<std::int32_t>{1, 2, 3}));
}

TEST(Sgl, equal_importance_keeps_the_lower_index) {
  const SequenceLayout layout = simple_layout(0, 5, 1);
  Sgl method({}, {0.0, 0.4});
  method.rank_by(flat_ranking(layout));
  plan_of(method, layout, 4);
  FakeStage stage(layout);
  EXPECT_EQ(select(method, stage), (std::vector<std::int32_t>{0, 1}));
}

TEST(Sgl, importance_goes_by_token_id_where_some_tokens_are_gone_already) {
  const SequenceLayout layout = simple_layout(0, 5, 1);
  Sgl method({}, {0.0, 0.4});
  method.rank_by(ranking(layout, {9, 8, 1, 3, 2}));
  plan_of(method, layout, 4);
  FakeStage stage(layout);
  stage.set_visual_ids({2, 3, 4});
  EXPECT_EQ(select(method, stage), (std::vector<std::int32_t>{1, 2})) << "ids 3 and 4";
}

TEST(Sgl, adjustments_change_a_copy_of_the_ranking) {
  class Penalty final : public ScoreAdjustment {
    Result<std::int64_t> adjust(int, const StageInput&, std::span<float> scores) const override {
      scores[0] -= 10;
      return static_cast<std::int64_t>(scores.size());
    }
  };
  const SequenceLayout layout = simple_layout(0, 4, 1);
  Sgl method({}, {0.0, 0.5});
  method.add_adjustment(std::make_shared<Penalty>());
  const auto importance = ranking(layout, {4, 3, 2, 1});
  method.rank_by(importance);
  plan_of(method, layout, 4);
  FakeStage stage(layout);
  EXPECT_EQ(select(method, stage), (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(importance->importance[0], 4);
}

TEST(Sgl, without_a_guide_it_says_how_to_name_one) {
  Sgl method({}, {});
  const auto plan = method.plan(simple_layout(1, 4, 1), shape_of(4));
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::usage);
  EXPECT_NE(plan.error().remedy.find("--guide"), std::string::npos);
}

TEST(Sgl, another_number_of_tokens_is_an_error_and_not_cut_short) {
  const SequenceLayout layout = simple_layout(1, 4, 1);
  for (const int guided : {3, 5}) {
    Sgl method({}, {});
    method.rank_by(flat_ranking(simple_layout(1, guided, 1)));
    const auto plan = method.plan(layout, shape_of(4));
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, ErrorCode::usage);
    EXPECT_EQ(plan.error().field, "--guide");
    EXPECT_NE(plan.error().message.find(std::to_string(guided)), std::string::npos);
  }
}

TEST(Sgl, as_many_tokens_of_another_grid_are_an_error) {
  const SequenceLayout layout = simple_layout(1, 12, 1, 4);
  Sgl method({}, {});
  method.rank_by(flat_ranking(simple_layout(1, 12, 1, 6)));
  const auto plan = method.plan(layout, shape_of(4));
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().field, "--guide");
  EXPECT_NE(plan.error().message.find("token 4 "), std::string::npos) << plan.error().message;
}

TEST(Sgl, fractions_are_read_from_options_and_bounded) {
  const auto made = [](const std::string& layer) {
    return Sgl::make({.name = "sgl", .options = {{"guide-layer", layer}}});
  };
  const SequenceLayout layout = simple_layout(1, 10, 1);
  const auto method = made("0.5");
  ASSERT_TRUE(method);
  (*method)->rank_by(flat_ranking(layout));
  EXPECT_EQ(plan_of(**method, layout, 12).stages[0].layer, 6);
  for (const char* bad : {"1.5", "-0.1", "", "x", "0.5x", "nan", "inf"}) {
    const auto refused = made(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, ErrorCode::usage);
    EXPECT_EQ(refused.error().field, "--guide-layer");
  }
}

TEST(Sgl, the_exit_rule_is_read_from_options_and_bounded) {
  const auto read = [](const std::string& name, const std::string& value) {
    return read_sgl_options({.name = "sgl", .options = {{name, value}}});
  };
  EXPECT_FALSE(read("guide-layer", "0.5")->exit_threshold) << "nothing exits unless asked to";
  EXPECT_EQ(*read("exit-threshold", "0")->exit_threshold, 0.0);
  EXPECT_EQ(*read("exit-threshold", "1.5")->exit_threshold, 1.5);
  EXPECT_EQ(read("exit-by", "random")->exit_by, ExitBy::random);
  EXPECT_EQ(read("guide-rows", "from-last-visual")->rows, RowSet::from_last_visual);
  EXPECT_FALSE(read("exit-by", "luck"));
  EXPECT_FALSE(read("guide-rows", ""));
  for (const char* bad : {"-1", "nan", "", "0,5"}) {
    const auto refused = read("exit-threshold", bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().field, "--exit-threshold");
  }
}

TEST(Sgl, the_rule_is_told_as_far_as_it_applies) {
  MethodRequest request{.name = "sgl"};
  EXPECT_EQ(sgl_rule(request, 12, 576), "before layer int(0.4 x 12) keep int(0.4 x 576)");
  request.options["guide-layer"] = "0.25";
  request.schedule.preset = "9";
  EXPECT_EQ(sgl_rule(request, 12, 576), "before layer int(0.25 x 12) keep int(0.05 x 576)");
  request.schedule.budget = 100;
  EXPECT_EQ(sgl_rule(request, 12, 576), "before layer int(0.25 x 12)");
  request.schedule.layers = {3};
  EXPECT_EQ(sgl_rule(request, 12, 576), "");
}

}  // namespace
}  // namespace fovea
