#include "pruning/methods/fitprune.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/base/file.h"
#include "support/fake_stage.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::kept;
using testing::simple_layout;

constexpr ModelShape kShape{.layers = 3, .heads = 2, .kv_heads = 2, .hidden_size = 8};
using Ids = std::vector<std::int32_t>;

FitPrune with_recipe(std::vector<double> deletions, bool shares = false,
                     ScheduleRequest request = {}) {
  auto recipe = std::make_shared<FitPruneRecipe>();
  recipe->deletions = std::move(deletions);
  recipe->shares = shares;
  return FitPrune(std::move(request), recipe);
}

Ids select(FitPrune& method, FakeStage& stage) {
  Context context;
  const auto plan = method.plan(stage.layout(), kShape);
  EXPECT_TRUE(plan) << plan.error().to_string();
  Selection selection;
  const Status status = method.select(context, 0, stage, selection);
  EXPECT_TRUE(status) << status.error().to_string();
  return kept(selection);
}

TEST(FitPrune, deletes_after_the_attention_of_each_layer_that_the_recipe_lists) {
  FitPrune method = with_recipe({3, 0, 5});
  const auto plan = method.plan(simple_layout(2, 10, 3), kShape);
  ASSERT_TRUE(plan) << plan.error().to_string();
  ASSERT_EQ(plan->stages.size(), 2u);
  EXPECT_EQ(plan->positions, PositionMode::original);
  EXPECT_EQ(plan->stages[0].when, Hook::after_attention);
  EXPECT_EQ(plan->stages[0].layer, 0);
  EXPECT_EQ(plan->stages[0].keep, 7);
  EXPECT_EQ(plan->stages[1].layer, 2);
  EXPECT_EQ(plan->stages[1].keep, 2);
}

TEST(FitPrune, shares_follow_the_number_of_visual_tokens) {
  FitPrune method = with_recipe({0.25, 0, 0.5}, true);
  const auto plan = method.plan(simple_layout(2, 100, 3), kShape);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 2u);
  EXPECT_EQ(plan->stages[0].keep, 75);
  EXPECT_EQ(plan->stages[1].keep, 25);
}

// Text looks at tokens 0 1 2 by .5 .1 .4 on average, the picture by 1/3 of .3 .6 .6: products
// .05 .02 .08.
TEST(FitPrune, ranks_by_the_product_of_text_and_picture) {
  FakeStage stage(simple_layout(1, 3, 2));
  stage.text_visual = {{{.4f, .1f, .5f}, {.6f, .1f, .3f}}};
  stage.visual_visual = {{{.1f, 0, 0}, {.1f, .3f, 0}, {.1f, .3f, .6f}}};
  FitPrune method = with_recipe({1, 0, 0});
  EXPECT_EQ(select(method, stage), (Ids{0, 2}));
}

// By the mean over heads token 0 (.30, .30) leads token 1 (.50, .02); by their maximum it does not.
TEST(FitPrune, the_maximum_over_heads_is_taken_before_rows_are_averaged) {
  FakeStage stage(simple_layout(1, 2, 1));
  stage.text_visual = {{{.30f, .50f}}, {{.30f, .02f}}};
  stage.visual_visual = {{{.5f, .5f}, {.5f, .5f}}, {{.5f, .5f}, {.5f, .5f}}};
  FitPrune method = with_recipe({1, 0, 0});
  EXPECT_EQ(select(method, stage), (Ids{1}));
  // Rows differ in which head is largest: maxima .6 and .6 against .5 and .5 for each head's mean.
  stage.text_visual = {{{.6f, .5f}, {.0f, .5f}}, {{.0f, .5f}, {.6f, .5f}}};
  EXPECT_EQ(select(method, stage), (Ids{0}));
}

TEST(FitPrune, without_a_recipe_the_error_says_how_to_name_one) {
  FitPrune method({}, nullptr);
  const auto plan = method.plan(simple_layout(2, 10, 3), kShape);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::usage);
  EXPECT_EQ(plan.error().field, "--prune-config");
  EXPECT_NE(plan.error().remedy.find("--prune-config"), std::string::npos);
}

TEST(FitPrune, own_layers_and_counts_need_no_recipe) {
  FitPrune method({.layers = {1}, .keep = {{4, false}}}, nullptr);
  const auto plan = method.plan(simple_layout(2, 10, 3), kShape);
  ASSERT_TRUE(plan) << plan.error().to_string();
  ASSERT_EQ(plan->stages.size(), 1u);
  EXPECT_EQ(plan->stages[0].keep, 4);
}

TEST(FitPrune, a_budget_scales_the_recipe) {
  FitPrune method = with_recipe({200, 100, 100}, false, {.budget = 300.0});
  const auto plan = method.plan(simple_layout(2, 576, 3), kShape);
  ASSERT_TRUE(plan) << plan.error().to_string();
  ASSERT_GE(plan->stages.size(), 2u);
  const double mean =
      (576.0 + static_cast<double>(plan->stages[0].keep + plan->stages[1].keep)) / 3;
  EXPECT_NEAR(mean, 300, 1);
}

TEST(FitPrune, recipes_for_other_models_or_pictures_are_refused) {
  const auto refused = [](FitPrune method, int visual) {
    const auto plan = method.plan(simple_layout(2, visual, 3), kShape);
    return plan ? std::string("accepted") : plan.error().field;
  };
  EXPECT_EQ(refused(with_recipe({1, 1}), 10), "deletions") << "a model of two layers";
  EXPECT_EQ(refused(with_recipe({5, 5, 0}), 10), "deletions") << "nothing would be left";
  EXPECT_EQ(refused(with_recipe({5, 4, 0}), 10), "accepted");
  EXPECT_EQ(refused(with_recipe({5, 4, 0}, false, {.preset = "60"}), 10), "--prune-preset");
}

TEST(FitPruneRecipe, survives_its_file) {
  const testing::TemporaryFolder folder;
  const std::string path = folder / "recipe.json";
  FitPruneRecipe written;
  written.model = "fovea-base";
  written.target = 0.6;
  written.deletions = {14, 33, 0};
  ASSERT_TRUE(write_file_atomically(path, to_json(written)));
  const auto read = read_fitprune_recipe(path);
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->model, written.model);
  EXPECT_EQ(read->target, written.target);
  EXPECT_EQ(read->deletions, written.deletions);
  EXPECT_FALSE(read->shares);
  EXPECT_TRUE(make_policy({.name = "fitprune", .config = path}));

  written.shares = true;
  written.deletions = {0.25, 0.125, 0};
  const auto shares = parse_fitprune_recipe(to_json(written));
  ASSERT_TRUE(shares) << shares.error().to_string();
  EXPECT_TRUE(shares->shares);
  EXPECT_EQ(shares->deletions, written.deletions);
}

TEST(FitPruneRecipe, bad_files_are_refused_by_field) {
  const auto field_of = [](const char* json) {
    const auto recipe = parse_fitprune_recipe(json);
    if (recipe) return std::string("accepted");
    EXPECT_EQ(recipe.error().code, ErrorCode::bad_input) << json;
    return recipe.error().field;
  };
  EXPECT_EQ(field_of(R"({"model": "m", "target": 0.6, "deletions": [3, 0]})"), "accepted");
  EXPECT_EQ(field_of(R"({"target": 0.6, "deletions": [3]})"), "model");
  EXPECT_EQ(field_of(R"({"model": 7, "target": 0.6, "deletions": [3]})"), "model");
  EXPECT_EQ(field_of(R"({"model": "m", "deletions": [3]})"), "target");
  EXPECT_EQ(field_of(R"({"model": "m", "target": 1, "deletions": [3]})"), "target");
  EXPECT_EQ(field_of(R"({"model": "m", "target": -0.1, "deletions": [3]})"), "target");
  EXPECT_EQ(field_of(R"({"model": "m", "target": 0.6})"), "deletions");
  EXPECT_EQ(field_of(R"({"model": "m", "target": 0.6, "deletions": []})"), "deletions");
  EXPECT_EQ(field_of(R"({"model": "m", "target": 0.6, "deletions": [-1]})"), "deletions");
  EXPECT_EQ(field_of(R"({"model": "m", "target": 0.6, "deletions": ["3"]})"), "deletions");
  EXPECT_EQ(field_of(R"({"model": "m", "target": 0.6, "deletions": [0.5, 0.5]})"), "deletions");
  EXPECT_EQ(field_of(R"({"model": "m", "target": 0.6, "deletions": [3], "layers": 2})"), "layers");
  EXPECT_EQ(field_of("[1, 2]"), "");
}

TEST(FitPruneRecipe, a_missing_file_is_named) {
  const auto policy = make_policy({.name = "fitprune", .config = "/nowhere/recipe.json"});
  ASSERT_FALSE(policy);
  EXPECT_EQ(policy.error().code, ErrorCode::not_found);
  EXPECT_EQ(policy.error().file, "/nowhere/recipe.json");
}

const BudgetShape kBudget{.layers = 2,
                          .hidden = 8,
                          .intermediate = 16,
                          .heads = 2,
                          .kv_heads = 2,
                          .head_dim = 4,
                          .kv_element_bytes = 4};

FitPruneSample sample(std::vector<std::vector<float>> cross, std::vector<std::vector<float>> self) {
  return {std::move(cross), std::move(self), 4};
}

// Totals 10 and 10. Two tokens are lowest by text (1 + 1 = .2 of 10), two by the picture (1 + 1),
// and one of them by both: token 0 is what an allowance of .2 deletes.
TEST(FitPruneCalibration, deletes_what_both_statistics_rank_lowest) {
  const std::vector<float> by_text{1, 1, 3, 5}, by_picture{1, 3, 1, 5};
  const FitPruneSample one = sample({by_text, {1, 1, 1, 1}}, {by_picture, {1, 1, 1, 1}});
  // Saving little needs no more than that one token.
  const auto recipe = fit_recipe({&one, 1}, kBudget, "m", 0.01);
  ASSERT_TRUE(recipe) << recipe.error().to_string();
  EXPECT_EQ(recipe->deletions, (std::vector<double>{1, 0}));
  EXPECT_EQ(recipe->model, "m");
  EXPECT_FALSE(recipe->shares);
}

TEST(FitPruneCalibration, meets_the_target_with_the_least_allowance) {
  std::vector<FitPruneSample> samples;
  for (int s = 0; s < 3; ++s) {
    std::vector<float> values;
    for (int i = 0; i < 50; ++i) values.push_back(static_cast<float>((i * 7 + s * 11) % 50 + 1));
    samples.push_back(sample({values, values}, {values, values}));
  }
  double previous = -1;
  for (const double target : {0.05, 0.2, 0.4, 0.6}) {
    const auto recipe = fit_recipe(samples, kBudget, "m", target);
    ASSERT_TRUE(recipe) << recipe.error().to_string();
    PruningRecord record;
    record.initial = 50;
    double deleted = 0;
    for (std::size_t layer = 0; layer < recipe->deletions.size(); ++layer) {
      EXPECT_GE(recipe->deletions[layer], 0);
      deleted += recipe->deletions[layer];
      record.stages.push_back({Hook::after_attention,
                               static_cast<int>(layer),
                               Ids(static_cast<std::size_t>(50 - deleted)),
                               {}});
    }
    EXPECT_LT(deleted, 50);
    EXPECT_GE(deleted, previous) << "a higher target deletes no less";
    previous = deleted;
    const BudgetReport report = account(record, kBudget, 4);
    EXPECT_GE(1 - report.prefill_flops / report.prefill_flops_unpruned, target);
    EXPECT_TRUE(recipe_stages(*recipe, 2, 50));
  }
}

TEST(FitPruneCalibration, counts_are_the_mean_over_samples) {
  // Only token 0 is low in one sample, tokens 0, 1 and 2 in the other.
  const FitPruneSample one = sample({{0, 9, 9, 9}, {9, 9, 9, 9}}, {{0, 9, 9, 9}, {9, 9, 9, 9}});
  const FitPruneSample three = sample({{0, 0, 0, 9}, {9, 9, 9, 9}}, {{0, 0, 0, 9}, {9, 9, 9, 9}});
  const auto recipe = fit_recipe(std::vector{one, three}, kBudget, "m", 0.01);
  ASSERT_TRUE(recipe) << recipe.error().to_string();
  EXPECT_EQ(recipe->deletions, (std::vector<double>{2, 0}));
}

TEST(FitPruneCalibration, what_cannot_be_fitted_is_said) {
  const FitPruneSample one = sample({{1, 2}, {1, 2}}, {{1, 2}, {1, 2}});
  const auto field_of = [&](std::span<const FitPruneSample> samples, double target) {
    const auto recipe = fit_recipe(samples, kBudget, "m", target);
    return recipe ? std::string("accepted") : recipe.error().field;
  };
  EXPECT_EQ(field_of({}, 0.1), "samples");
  EXPECT_EQ(field_of({&one, 1}, 1.0), "target");
  EXPECT_EQ(field_of({&one, 1}, 0.99), "target") << "text and the last token still cost";
  FitPruneSample ragged = one;
  ragged.self[1].pop_back();
  EXPECT_EQ(field_of({&ragged, 1}, 0.1), "samples");
  FitPruneSample broken = one;
  broken.cross[0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(field_of({&broken, 1}, 0.1), "samples");
}

}  // namespace
}  // namespace fovea
