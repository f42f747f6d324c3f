#include "pruning/methods/pyramiddrop.h"

#include <gtest/gtest.h>

#include "support/fake_stage.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::kept;
using testing::simple_layout;

constexpr ModelShape kShape32{.layers = 32, .heads = 32, .kv_heads = 32, .hidden_size = 64};

std::vector<std::int32_t> select(PyramidDrop& method, int stage_index, FakeStage& stage) {
  Context context;
  Selection selection;
  const Status status = method.select(context, stage_index, stage, selection);
  EXPECT_TRUE(status) << status.error().to_string();
  return kept(selection);
}

/// Two pictures of `tokens` each, with one text token between them.
SequenceLayout two_pictures(int tokens) {
  SequenceLayout layout = simple_layout(1, 2 * tokens, 2);
  for (int i = tokens; i < 2 * tokens; ++i) layout.visual[static_cast<std::size_t>(i)].image = 1;
  layout.kinds.insert(layout.kinds.begin() + 1 + tokens, TokenKind::text);
  layout.visual_ids.insert(layout.visual_ids.begin() + 1 + tokens, -1);
  return layout;
}

TEST(PyramidDrop, published_stages_keep_a_half_a_quarter_and_an_eighth_of_the_original_count) {
  PyramidDrop method({});
  const auto plan = method.plan(simple_layout(35, 576, 29), kShape32);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 3u);
  EXPECT_EQ(plan->positions, PositionMode::compact);
  const int layers[] = {8, 16, 24}, counts[] = {288, 144, 72};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(plan->stages[i].when, Hook::before_layer);
    EXPECT_EQ(plan->stages[i].layer, layers[i]);
    EXPECT_EQ(plan->stages[i].keep, counts[i]);
    EXPECT_EQ(plan->stages[i].attention, AttentionSource::preview);
  }
}

TEST(PyramidDrop, strong_setting_cuts_before_layers_2_10_20) {
  PyramidDrop method({.preset = "strong"});
  const auto plan = method.plan(simple_layout(35, 576, 29), kShape32);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 3u);
  const int layers[] = {2, 10, 20}, counts[] = {184, 92, 46};  // .32, .16, .08 of 576
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(plan->stages[i].layer, layers[i]);
    EXPECT_EQ(plan->stages[i].keep, counts[i]);
  }
}

TEST(PyramidDrop, ranks_by_the_last_row_averaged_over_heads) {
  FakeStage stage(simple_layout(1, 4, 2));
  stage.last_visual = {{{.1f, .4f, .0f, .2f}}, {{.3f, .0f, .1f, .3f}}};  // means .20 .20 .05 .25
  PyramidDrop method({.layers = {2}, .keep = {{2, false}}});
  ASSERT_TRUE(method.plan(stage.layout(), kShape32));
  EXPECT_EQ(select(method, 0, stage), (std::vector<std::int32_t>{0, 3}));
}

TEST(PyramidDrop, each_picture_keeps_the_same_share_whatever_the_other_scores) {
  FakeStage stage(two_pictures(4));
  // By one ranking of all, the second picture would keep nothing.
  stage.last_visual = {{{.9f, .8f, .7f, .6f, .1f, .2f, .4f, .3f}}};
  PyramidDrop method({.layers = {1, 2}, .keep = {{0.5, true}, {2, false}}});
  ASSERT_TRUE(method.plan(stage.layout(), kShape32));
  EXPECT_EQ(select(method, 0, stage), (std::vector<std::int32_t>{0, 1, 6, 7}));

  stage.set_visual_ids({0, 1, 6, 7});
  stage.last_visual = {{{.1f, .2f, .9f, .8f}}};
  EXPECT_EQ(select(method, 1, stage), (std::vector<std::int32_t>{1, 2}));
}

TEST(PyramidDrop, a_picture_at_the_end_of_the_prompt_is_ranked_by_its_own_last_token) {
  PyramidDrop method({});
  EXPECT_TRUE(method.plan(simple_layout(3, 16, 0), kShape32));
}

TEST(ProportionalShares, sum_to_the_total_and_favour_the_largest_remainder_then_the_earlier) {
  using Counts = std::vector<std::int64_t>;
  EXPECT_EQ(proportional_shares(10, {5, 5}), (Counts{5, 5}));
  EXPECT_EQ(proportional_shares(5, {5, 5}), (Counts{3, 2}));
  EXPECT_EQ(proportional_shares(4, {10, 5, 15}), (Counts{1, 1, 2}));  // 1.33, .67, 2
  EXPECT_EQ(proportional_shares(0, {3, 3}), (Counts{0, 0}));
  EXPECT_EQ(proportional_shares(6, {3, 0, 3}), (Counts{3, 0, 3}));
}

}  // namespace
}  // namespace fovea
