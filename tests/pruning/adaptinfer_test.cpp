#include "pruning/methods/adaptinfer.h"

#include <gtest/gtest.h>

#include "support/fake_stage.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::kept;
using testing::simple_layout;

constexpr ModelShape kShape{.layers = 4, .heads = 2, .kv_heads = 2, .hidden_size = 8};

std::vector<std::int32_t> select_one(AdaptInfer& method, FakeStage& stage) {
  Context context;
  const auto plan = method.plan(stage.layout(), kShape);
  EXPECT_TRUE(plan) << plan.error().to_string();
  Selection selection;
  const Status status = method.select(context, 0, stage, selection);
  EXPECT_TRUE(status) << status.error().to_string();
  return kept(selection);
}

AdaptInfer keep(double count, TextWeighting weighting = TextWeighting::text_prior) {
  return AdaptInfer({.layers = {1}, .keep = {{count, false}}}, weighting);
}

FakeStage one_head_case() {
  FakeStage stage(simple_layout(1, 3, 2));
  stage.text_text = {{{.80f, 0}, {.10f, .20f}}};
  stage.text_visual = {{{.10f, .06f, .04f}, {.05f, .30f, .15f}}};
  stage.last_visual = {{{.05f, .30f, .15f}}};
  return stage;
}

// methods: AdaptInfer, conformance test 1: w = [.9, .3], s = [.105, .144, .081].
TEST(AdaptInfer, text_prior_decides_between_tokens_that_plain_sums_confuse) {
  FakeStage stage = one_head_case();
  AdaptInfer method = keep(2);
  EXPECT_EQ(select_one(method, stage), (std::vector<std::int32_t>{0, 1}));
  AdaptInfer uniform = keep(2, TextWeighting::uniform);
  EXPECT_EQ(select_one(uniform, stage), (std::vector<std::int32_t>{1, 2}));
  AdaptInfer last = keep(1, TextWeighting::last_row);
  EXPECT_EQ(select_one(last, stage), (std::vector<std::int32_t>{1}));
}

// Second hand case: s = [.32, .28, .08] keeps v1; row-only, column-only, diagonal-twice, head-mean
// and unweighted variants of w would all keep v2.
TEST(AdaptInfer, both_directions_count_and_the_diagonal_once) {
  FakeStage stage(simple_layout(0, 3, 2));
  stage.text_text = {{{0, 0}, {0, .4f}}, {{.1f, 0}, {.3f, .1f}}};
  stage.text_visual = {{{0, .3f, 0}, {0, .4f, .1f}}, {{.4f, .2f, .1f}, {.4f, .1f, 0}}};
  AdaptInfer method = keep(1);
  EXPECT_EQ(select_one(method, stage), (std::vector<std::int32_t>{0}));
  AdaptInfer uniform = keep(1, TextWeighting::uniform);
  EXPECT_EQ(select_one(uniform, stage), (std::vector<std::int32_t>{1}));
}

TEST(AdaptInfer, order_of_heads_does_not_matter) {
  FakeStage stage(simple_layout(0, 3, 2));
  stage.text_text = {{{.1f, 0}, {.3f, .1f}}, {{0, 0}, {0, .4f}}};
  stage.text_visual = {{{.4f, .2f, .1f}, {.4f, .1f, 0}}, {{0, .3f, 0}, {0, .4f, .1f}}};
  AdaptInfer method = keep(1);
  EXPECT_EQ(select_one(method, stage), (std::vector<std::int32_t>{0}));
}

TEST(AdaptInfer, single_text_row_ranks_by_its_own_attention) {
  FakeStage stage(simple_layout(0, 3, 1));
  stage.text_text = {{{.5f}}, {{.1f}}};
  stage.text_visual = {{{.1f, .2f, .2f}}, {{.7f, .0f, .2f}}};  // s = [.12, .10, .12]
  AdaptInfer method = keep(1);
  EXPECT_EQ(select_one(method, stage), (std::vector<std::int32_t>{0}))
      << "equal scores keep the lower index";
}

TEST(AdaptInfer, keeping_everything_leaves_the_stage_out) {
  AdaptInfer method({.layers = {1, 3}, .keep = {{500, false}, {2, false}}},
                    TextWeighting::text_prior);
  const auto plan = method.plan(simple_layout(1, 3, 2), kShape);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 1u);
  EXPECT_EQ(plan->stages[0].layer, 3);
}

TEST(AdaptInfer, a_count_of_zero_removes_every_visual_token) {
  FakeStage stage = one_head_case();
  AdaptInfer method = keep(0);
  EXPECT_TRUE(select_one(method, stage).empty());
}

TEST(AdaptInfer, published_preset_acts_after_layers_1_10_20_with_compact_positions) {
  AdaptInfer method({}, TextWeighting::text_prior);
  const auto plan = method.plan(simple_layout(35, 576, 29),
                                {.layers = 32, .heads = 32, .kv_heads = 32, .hidden_size = 4096});
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 3u);
  EXPECT_EQ(plan->positions, PositionMode::compact);
  const int layers[] = {1, 10, 20}, counts[] = {133, 27, 3};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(plan->stages[i].when, Hook::after_layer);
    EXPECT_EQ(plan->stages[i].layer, layers[i]);
    EXPECT_EQ(plan->stages[i].keep, counts[i]);
  }
}

TEST(AdaptInfer, a_prompt_that_ends_with_the_picture_is_refused) {
  AdaptInfer method({}, TextWeighting::text_prior);
  const auto plan = method.plan(simple_layout(3, 8, 0), kShape);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::usage);
}

}  // namespace
}  // namespace fovea
