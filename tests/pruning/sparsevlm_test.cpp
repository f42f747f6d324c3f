#include "pruning/methods/sparsevlm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/fake_stage.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::simple_layout;

constexpr ModelShape kShape32{.layers = 32,
                              .heads = 32,
                              .kv_heads = 32,
                              .hidden_size = 64,
                              .head_dim = 128,
                              .rope_theta = 10000};

TEST(SparseVlm, recycled_counts_follow_the_published_rule) {
  EXPECT_EQ(recycled_tokens(276), 83);  // int(82.8) + 1
  EXPECT_EQ(recycled_groups(276), 9);   // 83 / 10 + 1
  EXPECT_EQ(recycled_tokens(1), 1);
  EXPECT_EQ(recycled_groups(1), 1);
  EXPECT_EQ(recycled_tokens(0), 0);
  EXPECT_EQ(recycled_groups(0), 0);
}

TEST(SparseVlm, distance_weight_is_what_rotation_makes_of_vectors_of_ones) {
  const std::vector<float> weights = distance_weights(4, 4, 100.0);
  EXPECT_FLOAT_EQ(weights[0], 2.0f);  // 4 / sqrt(4)
  for (int d = 1; d < 4; ++d) {
    const double expected = std::max(2 * (std::cos(d) + std::cos(0.1 * d)), 0.25) / 2;
    EXPECT_NEAR(weights[static_cast<std::size_t>(d)], expected, 1e-6) << d;
  }
}

TEST(SparseVlm, distance_weight_stays_positive_in_small_heads) {
  for (const float weight : distance_weights(2000, 8, 10000.0)) EXPECT_GT(weight, 0.0f);
}

TEST(SparseVlm, version_2_listens_to_14_of_32_heads_and_in_proportion_elsewhere) {
  EXPECT_EQ(listened_heads(32), 14);
  EXPECT_EQ(listened_heads(40), 18);  // 17.5
  EXPECT_EQ(listened_heads(8), 4);    // 3.5
  EXPECT_EQ(listened_heads(1), 1);
}

struct Chosen {
  std::int64_t count = 0, appended = 0;
  std::vector<std::int32_t> offsets, sources;
  std::vector<float> weights;
};

Chosen run(SparseVlm& method, FakeStage& stage) {
  Context context;
  const auto plan = method.plan(stage.layout(), kShape32);
  EXPECT_TRUE(plan) << plan.error().to_string();
  EXPECT_TRUE(method.read_embeddings(context, stage));
  Selection selection;
  const Status status = method.select(context, 0, stage, selection);
  EXPECT_TRUE(status) << status.error().to_string();
  Chosen chosen;
  chosen.count = selection.count;
  chosen.appended = selection.appended;
  const std::int64_t sources = selection.sources.shape[0];
  const auto* ids = selection.sources.as<std::int32_t>();
  chosen.sources.assign(ids, ids + sources);
  if (!selection.offsets.empty()) {
    const auto* offsets = selection.offsets.as<std::int32_t>();
    chosen.offsets.assign(offsets, offsets + selection.count + 1);
    chosen.weights.assign(selection.weights.as<float>(), selection.weights.as<float>() + sources);
  }
  return chosen;
}

/// Two words, of which the first rates, and six visual tokens.
FakeStage rated_stage() {
  FakeStage stage(simple_layout(1, 6, 2));
  stage.text_states = {{2.0f}, {0.0f}};
  stage.visual_states = {{1}, {1}, {1}, {1}, {1}, {1}};
  // By the rater the order is 5 4 3 2 1 0, by the other word the opposite and stronger.
  stage.text_visual = {{{.01f, .02f, .03f, .04f, .05f, .06f}, {.9f, .8f, .7f, .6f, .5f, .4f}}};
  return stage;
}

TEST(SparseVlm, only_raters_have_a_say) {
  FakeStage stage = rated_stage();
  SparseVlm method({.layers = {2}, .keep = {{5, false}}}, SparseVlmVersion::v1);
  const Chosen chosen = run(method, stage);
  EXPECT_EQ(std::vector<std::int32_t>(chosen.sources.begin(), chosen.sources.begin() + 5),
            (std::vector<std::int32_t>{1, 2, 3, 4, 5}));
}

TEST(SparseVlm, the_best_of_the_dropped_are_merged_and_appended) {
  FakeStage stage = rated_stage();
  SparseVlm method({.layers = {2}, .keep = {{2, false}}}, SparseVlmVersion::v1);
  const Chosen chosen = run(method, stage);
  // Dropped 0 1 2 3; int(1.2) + 1 = 2 of them, the best, are recycled into one token.
  EXPECT_EQ(chosen.count, 3);
  EXPECT_EQ(chosen.appended, 1);
  EXPECT_EQ(chosen.sources, (std::vector<std::int32_t>{4, 5, 2, 3}));
  EXPECT_EQ(chosen.offsets, (std::vector<std::int32_t>{0, 1, 2, 4}));
  EXPECT_EQ(chosen.weights, (std::vector<float>{1, 1, .5f, .5f}));
}

TEST(SparseVlm, a_count_of_zero_recycles_nothing) {
  FakeStage stage = rated_stage();
  SparseVlm method({.layers = {2}, .keep = {{0, false}}}, SparseVlmVersion::v1);
  EXPECT_EQ(run(method, stage).count, 0);
}

TEST(SparseVlm, version_2_recycles_nothing) {
  FakeStage stage = rated_stage();
  stage.visual_positions = {1, 2, 3, 4, 5, 6};
  stage.text_positions = {7, 8};
  SparseVlm method({.layers = {2}, .keep = {{2, false}}}, SparseVlmVersion::v2);
  const Chosen chosen = run(method, stage);
  EXPECT_EQ(chosen.count, 2);
  EXPECT_EQ(chosen.appended, 0);
}

TEST(SparseVlm, version_2_takes_the_distance_out_of_the_attention) {
  FakeStage stage(simple_layout(1, 2, 1));
  stage.text_states = {{1.0f}};
  stage.visual_states = {{1}, {1}};
  stage.text_visual = {
      {{.10f, .11f}}};  // the nearer token leads by less than its nearness explains
  stage.visual_positions = {1, 200};
  stage.text_positions = {201};
  SparseVlm v1({.layers = {2}, .keep = {{1, false}}}, SparseVlmVersion::v1);
  EXPECT_EQ(run(v1, stage).sources[0], 1);
  SparseVlm v2({.layers = {2}, .keep = {{1, false}}}, SparseVlmVersion::v2);
  EXPECT_EQ(run(v2, stage).sources[0], 0);
}

TEST(SparseVlm, version_2_leaves_out_heads_that_look_away_from_the_picture) {
  FakeStage stage(simple_layout(1, 2, 1));
  stage.text_states = {{1.0f}};
  stage.visual_states = {{1}, {1}};
  stage.visual_positions = {1, 1};
  stage.text_positions = {2};
  // Two of four heads are heard. Masses .50 .30 .29 .28: the first two prefer token 0 by .1 and
  // token 1 by .02; over all four heads token 1 would win.
  stage.text_visual = {{{.30f, .20f}}, {{.14f, .16f}}, {{.10f, .19f}}, {{.10f, .18f}}};
  SparseVlm v2({.layers = {2}, .keep = {{1, false}}}, SparseVlmVersion::v2);
  EXPECT_EQ(run(v2, stage).sources[0], 0);
  SparseVlm v1({.layers = {2}, .keep = {{1, false}}}, SparseVlmVersion::v1);
  EXPECT_EQ(run(v1, stage).sources[0], 1);
}

TEST(SparseVlm, each_version_has_its_tables_and_positions) {
  const auto counts = [](SparseVlmVersion version, const char* preset, PositionMode* positions) {
    SparseVlm method({.preset = preset}, version);
    const auto plan = method.plan(simple_layout(35, 576, 29), kShape32);
    EXPECT_TRUE(plan) << plan.error().to_string();
    *positions = plan->positions;
    std::vector<std::int64_t> kept;
    const int layers[] = {2, 6, 15};
    for (std::size_t i = 0; i < plan->stages.size(); ++i) {
      EXPECT_EQ(plan->stages[i].when, Hook::after_layer);
      EXPECT_EQ(plan->stages[i].layer, layers[i]);
      kept.push_back(plan->stages[i].keep);
    }
    return kept;
  };
  using Counts = std::vector<std::int64_t>;
  PositionMode positions;
  EXPECT_EQ(counts(SparseVlmVersion::v1, "192", &positions), (Counts{300, 200, 110}));
  EXPECT_EQ(positions, PositionMode::compact);
  EXPECT_EQ(counts(SparseVlmVersion::v1, "128", &positions), (Counts{303, 110, 36}));
  EXPECT_EQ(counts(SparseVlmVersion::v1, "96", &positions), (Counts{238, 48, 26}));
  EXPECT_EQ(counts(SparseVlmVersion::v1, "64", &positions), (Counts{66, 30, 17}));
  EXPECT_EQ(counts(SparseVlmVersion::v2, "192", &positions), (Counts{300, 200, 118}));
  EXPECT_EQ(positions, PositionMode::original);
  EXPECT_EQ(counts(SparseVlmVersion::v2, "128", &positions), (Counts{238, 108, 60}));
  EXPECT_EQ(counts(SparseVlmVersion::v2, "96", &positions), (Counts{246, 54, 28}));
  EXPECT_EQ(counts(SparseVlmVersion::v2, "64", &positions), (Counts{66, 34, 20}));
}

TEST(SparseVlm, a_prompt_that_ends_with_the_picture_is_refused) {
  SparseVlm method({}, SparseVlmVersion::v1);
  const auto plan = method.plan(simple_layout(3, 64, 0), kShape32);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::usage);
}

TEST(SparseVlm, a_budget_counts_the_merged_tokens) {
  SparseVlm method({.budget = 192.0}, SparseVlmVersion::v1);
  const auto plan = method.plan(simple_layout(35, 576, 29), kShape32);
  ASSERT_TRUE(plan) << plan.error().to_string();
  std::int64_t present = 576;
  double sum = 0;
  std::size_t next = 0;
  for (int layer = 0; layer < 32; ++layer) {
    sum += static_cast<double>(present);
    if (next < plan->stages.size() && plan->stages[next].layer == layer) {
      const std::int64_t keep = plan->stages[next++].keep;
      present = keep + recycled_groups(present - keep);
    }
  }
  EXPECT_NEAR(sum / 32, 192.0, 1.0);
}

}  // namespace
}  // namespace fovea
