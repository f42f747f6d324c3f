// VisionZip (arXiv 2412.04467): dominant and contextual tokens from hand-made attention and keys.

#include "pruning/methods/visionzip.h"

#include <gtest/gtest.h>

#include "support/fake_stage.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::simple_layout;

constexpr ModelShape kTower{.layers = 23, .heads = 2, .kv_heads = 2, .hidden_size = 8};

/// The tower's tokens: the class token, then patches.
SequenceLayout tower(int patches) {
  SequenceLayout layout = simple_layout(0, patches + 1, 0);
  layout.visual[0].row = layout.visual[0].col = -1;
  return layout;
}

ScheduleRequest keeping(double count) {
  return {.keep = {{count, false}}};
}

struct Survivors {
  std::vector<std::vector<std::int32_t>> sources;
  std::vector<std::vector<float>> weights;
};

Survivors select(VisionZip& method, FakeStage& stage) {
  const auto plan = method.plan(stage.layout(), kTower);
  EXPECT_TRUE(plan) << plan.error().to_string();
  Context context;
  Selection selection;
  const Status status = method.select(context, 0, stage, selection);
  EXPECT_TRUE(status) << status.error().to_string();
  Survivors survivors;
  const auto* offsets = selection.offsets.as<std::int32_t>();
  for (std::int64_t i = 0; i < selection.count; ++i) {
    survivors.sources.emplace_back(selection.sources.as<std::int32_t>() + offsets[i],
                                   selection.sources.as<std::int32_t>() + offsets[i + 1]);
    survivors.weights.emplace_back(selection.weights.as<float>() + offsets[i],
                                   selection.weights.as<float>() + offsets[i + 1]);
  }
  return survivors;
}

TEST(VisionZip, keeps_the_class_token_the_dominant_patches_and_merges_the_rest) {
  FakeStage stage(tower(6));
  // Class attention summed over heads: patches 2 and 5 lead.
  stage.class_visual = {{{.5f, .00f, .30f, .0f, .05f, .10f, .05f}},
                        {{.2f, .05f, .25f, .1f, .05f, .30f, .05f}}};
  // Of the rest (rows 1, 3, 4, 6) the targets at stride 2 are 1 and 4; 3 resembles 4, 6
  // resembles 1.
  stage.visual_key_means = {{9, 9}, {1, 0}, {0, 1}, {.1f, 2}, {0, 3}, {1, 1}, {5, .2f}};
  VisionZip method(keeping(5), 2);
  const Survivors survivors = select(method, stage);
  EXPECT_EQ(survivors.sources,
            (std::vector<std::vector<std::int32_t>>{{0}, {2}, {5}, {1, 6}, {4, 3}}));
  EXPECT_EQ(survivors.weights, (std::vector<std::vector<float>>{{1}, {1}, {1}, {1, 1}, {1, 1}}));
}

TEST(VisionZip, a_contextual_token_is_its_target_plus_the_mean_of_those_that_joined) {
  FakeStage stage(tower(5));
  stage.class_visual = {{{0, .5f, 0, 0, 0, 0}}};
  stage.visual_key_means = {{1, 0}, {1, 0}, {1, 0}, {1, 0}, {2, 0}, {3, 0}};
  VisionZip method(keeping(3), 1);
  const Survivors survivors = select(method, stage);
  EXPECT_EQ(survivors.sources[2], (std::vector<std::int32_t>{2, 3, 4, 5}));
  for (std::size_t i = 1; i < 4; ++i) EXPECT_FLOAT_EQ(survivors.weights[2][i], 1.0f / 3.0f);
  EXPECT_EQ(survivors.weights[2][0], 1.0f);
}

TEST(VisionZip, ties_go_to_the_lower_patch_and_the_first_target) {
  FakeStage stage(tower(5));
  stage.class_visual = {{{0, .2f, .2f, .2f, .2f, .2f}}};
  stage.visual_key_means = std::vector<std::vector<float>>(6, {1, 1});
  VisionZip method(keeping(4), 2);
  EXPECT_EQ(select(method, stage).sources,
            (std::vector<std::vector<std::int32_t>>{{0}, {1}, {2, 3, 5}, {4}}));
}

TEST(VisionZip, without_contextual_tokens_the_rest_is_dropped) {
  FakeStage stage(tower(4));
  stage.class_visual = {{{0, .1f, .4f, .3f, .2f}}};
  stage.visual_key_means = std::vector<std::vector<float>>(5, {1, 1});
  VisionZip method(keeping(3), 0);
  EXPECT_EQ(select(method, stage).sources, (std::vector<std::vector<std::int32_t>>{{0}, {2}, {3}}));
  VisionZip lone(keeping(1), 0);
  EXPECT_EQ(select(lone, stage).sources, (std::vector<std::vector<std::int32_t>>{{0}}));
}

std::pair<std::int64_t, std::int64_t> split(const ScheduleRequest& request, int patches = 576) {
  const auto tokens = split_tokens(request, std::nullopt, patches);
  EXPECT_TRUE(tokens) << tokens.error().to_string();
  return tokens && *tokens ? std::pair((*tokens)->dominant, (*tokens)->contextual)
                           : std::pair<std::int64_t, std::int64_t>();
}

TEST(VisionZip, presets_split_as_published) {
  using Pair = std::pair<std::int64_t, std::int64_t>;
  EXPECT_EQ(split({}), Pair(191, 30));
  EXPECT_EQ(split({.preset = "192"}), Pair(162, 30));
  EXPECT_EQ(split({.preset = "128"}), Pair(108, 20));
  EXPECT_EQ(split({.preset = "64"}), Pair(54, 10));
  EXPECT_EQ(split({.preset = "64"}, 144), Pair(13, 3)) << "16 of 144, 10 of 64 merged";
}

TEST(VisionZip, counts_and_budgets_split_like_most_presets) {
  using Pair = std::pair<std::int64_t, std::int64_t>;
  EXPECT_EQ(split(keeping(288)), Pair(243, 45));
  EXPECT_EQ(split({.budget = 144}), Pair(121, 23));
  EXPECT_EQ(split({.keep = {{0.25, true}}}), Pair(121, 23));
}

TEST(VisionZip, acts_after_the_last_block_and_passes_the_class_token_on) {
  VisionZip method({.preset = "64"}, std::nullopt);
  const auto plan = method.plan(tower(576), kTower);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 1u);
  EXPECT_EQ(plan->stages[0].when, Hook::vit_block);
  EXPECT_EQ(plan->stages[0].layer, 22);
  EXPECT_EQ(plan->stages[0].keep, 64);
  EXPECT_EQ(plan->positions, PositionMode::compact);
  EXPECT_TRUE(plan->keeps_class_token);
  EXPECT_TRUE(method.in_vision_tower());
}

TEST(VisionZip, keeping_as_many_tokens_as_patches_is_no_stage) {
  VisionZip method(keeping(576), std::nullopt);
  EXPECT_TRUE(method.plan(tower(576), kTower)->stages.empty());
}

TEST(VisionZip, refuses_layers_and_counts_without_room) {
  EXPECT_FALSE(
      VisionZip({.layers = {3}, .keep = {{9, false}}}, std::nullopt).plan(tower(16), kTower));
  const auto crowded = VisionZip(keeping(4), 4).plan(tower(16), kTower);
  ASSERT_FALSE(crowded);
  EXPECT_EQ(crowded.error().code, ErrorCode::usage);
  for (const char* text : {"-1", "x", "", "3.5"}) {
    EXPECT_FALSE(make_policy({.name = "visionzip", .options = {{"contextual", text}}})) << text;
  }
}

TEST(VisionZip, a_tower_without_class_token_is_refused) {
  FakeStage stage(simple_layout(0, 4, 0));
  VisionZip method(keeping(2), 0);
  ASSERT_TRUE(method.plan(stage.layout(), kTower));
  Context context;
  Selection selection;
  const Status status = method.select(context, 0, stage, selection);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace fovea
