#include "pruning/schedule.h"

#include <gtest/gtest.h>

#include "pruning/accounting.h"

namespace fovea {
namespace {

SchedulePreset adaptinfer_64() {
  return {"64", 32, 576, {{1, {133}}, {10, {27}}, {20, {3}}}};
}

TEST(Schedule, preset_is_unchanged_on_the_model_it_was_published_for) {
  const auto stages = scale_preset(adaptinfer_64(), 32, 576);
  ASSERT_EQ(stages.size(), 3u);
  EXPECT_EQ(stages[0].layer, 1);
  EXPECT_EQ(stages[1].layer, 10);
  EXPECT_EQ(stages[2].layer, 20);
  EXPECT_EQ(stages[0].keep.tokens(576), 133);
  EXPECT_EQ(stages[2].keep.tokens(576), 3);
}

TEST(Schedule, layers_scale_with_depth_and_counts_with_token_count) {
  const auto stages = scale_preset(adaptinfer_64(), 22, 288);
  ASSERT_EQ(stages.size(), 3u);
  EXPECT_EQ(stages[0].layer, 1);   // round(1 * 22 / 32) = 1
  EXPECT_EQ(stages[1].layer, 7);   // round(6.875)
  EXPECT_EQ(stages[2].layer, 14);  // round(13.75)
  EXPECT_EQ(stages[0].keep.tokens(288), 67);
  EXPECT_EQ(stages[1].keep.tokens(288), 14);
}

TEST(Schedule, stages_that_would_meet_in_a_shallow_model_stay_apart) {
  const auto stages = scale_preset(adaptinfer_64(), 3, 576);
  ASSERT_EQ(stages.size(), 2u);
  EXPECT_EQ(stages[0].layer, 1);
  EXPECT_EQ(stages[1].layer, 2);
}

// methods: AdaptInfer, published presets on 32 layers: means of the counts entering each layer.
TEST(Schedule, entering_mean_matches_the_published_presets) {
  EXPECT_NEAR(entering_mean({{1, {290}}, {10, {72}}, {20, {18}}}, CutSide::after, 32, 576), 146.3,
              0.05 + 1e-9);
  EXPECT_NEAR(entering_mean({{1, {133}}, {10, {27}}, {20, {3}}}, CutSide::after, 32, 576), 82.9,
              0.05 + 1e-9);
  EXPECT_NEAR(entering_mean({{1, {80}}, {10, {24}}, {20, {2}}}, CutSide::after, 32, 576), 66.7,
              0.05 + 1e-9);
  EXPECT_NEAR(entering_mean({{1, {40}}, {10, {12}}, {20, {0}}}, CutSide::after, 32, 576), 51.0,
              0.05 + 1e-9);
  EXPECT_NEAR(entering_mean({{1, {300}}, {10, {94}}, {20, {30}}}, CutSide::after, 40, 576), 134.1,
              0.05 + 1e-9);
  EXPECT_NEAR(entering_mean({{1, {148}}, {10, {40}}, {20, {5}}}, CutSide::after, 40, 576), 74.5,
              0.05 + 1e-9);
}

TEST(Schedule, budget_is_met_to_within_a_token) {
  const auto stages = scale_preset(adaptinfer_64(), 32, 576);
  for (const double budget : {60.0, 100.0, 144.0, 192.0, 288.0, 400.0}) {
    const auto solved = solve_budget(stages, CutSide::after, 32, 576, budget);
    ASSERT_TRUE(solved) << solved.error().to_string();
    EXPECT_NEAR(entering_mean(*solved, CutSide::after, 32, 576), budget, 1.0);
  }
}

TEST(Schedule, a_budget_below_the_layers_before_the_first_cut_is_refused_with_the_range) {
  const auto solved =
      solve_budget(scale_preset(adaptinfer_64(), 32, 576), CutSide::after, 32, 576, 30);
  ASSERT_FALSE(solved);
  EXPECT_EQ(solved.error().code, ErrorCode::usage);
  EXPECT_NE(solved.error().message.find("36.0"), std::string::npos)
      << solved.error().message;  // 2 layers of 576
  EXPECT_FALSE(solve_budget(scale_preset(adaptinfer_64(), 32, 576), CutSide::after, 32, 576, 577));
}

TEST(Schedule, own_counts_may_be_ratios_and_stages_that_keep_all_are_left_out) {
  ScheduleRequest request;
  request.layers = {2, 5};
  request.keep = {{1000, false}, {0.25, true}};
  const auto stages = resolve_schedule(request, {adaptinfer_64()}, "64", CutSide::after, 12, 576);
  ASSERT_TRUE(stages) << stages.error().to_string();
  ASSERT_EQ(stages->size(), 1u);
  EXPECT_EQ((*stages)[0].layer, 5);
  EXPECT_EQ((*stages)[0].keep.tokens(576), 144);
}

TEST(Schedule, bad_requests_name_the_option_at_fault) {
  const auto field_of = [](const ScheduleRequest& request) {
    const auto stages = resolve_schedule(request, {adaptinfer_64()}, "64", CutSide::after, 12, 576);
    return stages ? std::string("accepted") : stages.error().field;
  };
  EXPECT_EQ(field_of({.preset = "99"}), "--prune-preset");
  EXPECT_EQ(field_of({.layers = {5, 2}, .keep = {{9}, {8}}}), "--prune-layers");
  EXPECT_EQ(field_of({.layers = {12}, .keep = {{9}}}), "--prune-layers");
  EXPECT_EQ(field_of({.layers = {1, 2}, .keep = {{9}}}), "--prune-keep");
  EXPECT_EQ(field_of({.layers = {1, 2}, .keep = {{9}, {10}}}), "--prune-keep");
  EXPECT_EQ(field_of({.budget = 1.0}), "--prune-budget");
}

PruningRecord record_of(Hook when, const std::vector<std::pair<int, int>>& cuts) {
  PruningRecord record;
  record.initial = 576;
  for (const auto& [layer, count] : cuts) {
    record.stages.push_back(
        {when, layer, std::vector<std::int32_t>(static_cast<std::size_t>(count)), {}});
  }
  return record;
}

// methods: AdaptInfer section 5: mean counts after each layer's cut, and entering each layer.
TEST(Accounting, equivalent_and_entering_means_match_the_published_table) {
  struct Row {
    int layers;
    std::vector<int> counts;  // after layers 1, 10 and 20
    double equivalent, entering;
  };
  for (const Row& row : {Row{32, {290, 72, 18}, 128.8, 146.3}, Row{32, {133, 27, 3}, 65.0, 82.9},
                         Row{32, {80, 24, 2}, 48.8, 66.7}, Row{32, {40, 12, 0}, 33.0, 51.0},
                         Row{40, {300, 94, 30}, 120.4, 134.1}, Row{40, {148, 40, 5}, 60.2, 74.5}}) {
    BudgetShape shape;
    shape.layers = row.layers;
    const BudgetReport report =
        account(record_of(Hook::after_layer,
                          {{1, row.counts[0]}, {10, row.counts[1]}, {20, row.counts[2]}}),
                shape, 64);
    EXPECT_NEAR(report.equivalent, row.equivalent, 0.05 + 1e-9);
    EXPECT_NEAR(report.entering_mean, row.entering, 0.05 + 1e-9);
    EXPECT_EQ(report.entering[1], 576);
    EXPECT_EQ(report.entering[2], row.counts[0]);
    EXPECT_EQ(report.entering.back(), row.counts[2]);
  }
}

TEST(Accounting, a_cut_before_a_layer_spares_that_layer) {
  BudgetShape shape{.layers = 4,
                    .hidden = 8,
                    .intermediate = 16,
                    .heads = 2,
                    .kv_heads = 1,
                    .head_dim = 4,
                    .kv_element_bytes = 2};
  const BudgetReport report = account(record_of(Hook::before_layer, {{2, 100}}), shape, 10);
  EXPECT_EQ(report.entering, (std::vector<std::int64_t>{576, 576, 100, 100}));
  EXPECT_EQ(report.kv_bytes, (2 * 586 + 2 * 110) * 2 * 4 * 2);
  EXPECT_EQ(report.kv_bytes_unpruned, 4 * 586 * 2 * 4 * 2);
  EXPECT_LT(report.prefill_flops, report.prefill_flops_unpruned);
}

TEST(Accounting, a_cut_of_the_embeddings_spares_every_layer) {
  BudgetShape shape;
  shape.layers = 3;
  const BudgetReport report = account(record_of(Hook::embeddings, {{0, 64}}), shape, 10);
  EXPECT_EQ(report.entering, (std::vector<std::int64_t>{64, 64, 64}));
}

const BudgetShape kSmall{.layers = 2,
                         .hidden = 8,
                         .intermediate = 16,
                         .heads = 2,
                         .kv_heads = 1,
                         .head_dim = 4,
                         .kv_element_bytes = 2};

TEST(Accounting, a_cut_after_attention_spares_the_mlp_and_the_layers_that_follow) {
  const BudgetReport report = account(record_of(Hook::after_attention, {{0, 100}}), kSmall, 24);
  EXPECT_EQ(report.entering, (std::vector<std::int64_t>{576, 100}));
  EXPECT_DOUBLE_EQ(report.equivalent, 100);
  const auto flops = [](double n, double mlp) {
    return 2 * n * 8 * 16 + 2 * n * n * 8 + 2 * n * 8 * 8 + 6 * mlp * 8 * 16;
  };
  EXPECT_DOUBLE_EQ(report.prefill_flops, flops(600, 124) + flops(124, 124));
  EXPECT_DOUBLE_EQ(report.prefill_flops_unpruned, 2 * flops(600, 600));
}

TEST(Accounting, a_bypass_spares_one_attention_and_nothing_else) {
  PruningRecord record = record_of(Hook::before_layer, {{1, 100}});
  record.stages[0].bypass = true;
  const BudgetReport report = account(record, kSmall, 24);
  EXPECT_EQ(report.entering, (std::vector<std::int64_t>{576, 576}));
  EXPECT_DOUBLE_EQ(report.entering_mean, 576);
  EXPECT_DOUBLE_EQ(report.equivalent, (576 + 100) / 2.0);
  EXPECT_EQ(report.kv_bytes, report.kv_bytes_unpruned);
  const auto flops = [](double n, double attending) {
    return 2 * n * 8 * 16 + 2 * attending * attending * 8 + 2 * attending * 8 * 8 + 6 * n * 8 * 16;
  };
  EXPECT_DOUBLE_EQ(report.prefill_flops, flops(600, 600) + flops(600, 124));
}

TEST(Accounting, merged_tokens_are_paid_for) {
  PruningRecord record = record_of(Hook::before_layer, {{1, 100}});
  record.stages[0].sources = {{7, 9}, {400}};
  EXPECT_EQ(account(record, kSmall, 24).entering, (std::vector<std::int64_t>{576, 102}));
}

}  // namespace
}  // namespace fovea
