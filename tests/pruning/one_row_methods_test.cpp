// FastV, HiMAP and the baselines.

#include <gtest/gtest.h>

#include "pruning/methods/baselines.h"
#include "pruning/methods/fastv.h"
#include "pruning/methods/himap.h"
#include "support/fake_stage.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::kept;
using testing::simple_layout;

constexpr ModelShape kShape{.layers = 12, .heads = 2, .kv_heads = 2, .hidden_size = 8};

std::vector<std::int32_t> select(Policy& method, int stage_index, FakeStage& stage) {
  Context context;
  Selection selection;
  const Status status = method.select(context, stage_index, stage, selection);
  EXPECT_TRUE(status) << status.error().to_string();
  return kept(selection);
}

TEST(FastV, ranks_by_the_last_row_averaged_over_heads) {
  FakeStage stage(simple_layout(1, 4, 2));
  stage.last_visual = {{{.1f, .4f, .0f, .2f}}, {{.3f, .0f, .1f, .3f}}};  // means .20 .20 .05 .25
  FastV method({.layers = {2}, .keep = {{2, false}}});
  ASSERT_TRUE(method.plan(stage.layout(), kShape));
  EXPECT_EQ(select(method, 0, stage), (std::vector<std::int32_t>{0, 3}));
}

TEST(FastV, default_cuts_half_before_layer_2_and_keeps_positions) {
  FastV method({});
  const auto plan = method.plan(simple_layout(35, 576, 29),
                                {.layers = 32, .heads = 32, .kv_heads = 32, .hidden_size = 64});
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 1u);
  EXPECT_EQ(plan->stages[0].when, Hook::before_layer);
  EXPECT_EQ(plan->stages[0].layer, 2);
  EXPECT_EQ(plan->stages[0].keep, 288);
  EXPECT_EQ(plan->stages[0].attention, AttentionSource::previous_layer);
  EXPECT_EQ(plan->positions, PositionMode::original);
}

TEST(FastV, layer_0_is_refused_because_nothing_precedes_it) {
  FastV method({.layers = {0}, .keep = {{2, false}}});
  EXPECT_FALSE(method.plan(simple_layout(1, 4, 2), kShape));
}

TEST(HiMap, first_stage_sums_text_rows_and_second_sums_visual_rows) {
  FakeStage stage(simple_layout(0, 3, 2));
  stage.text_visual = {{{.1f, .2f, .3f}, {.3f, .2f, .2f}}};             // sums .4 .4 .5
  stage.visual_visual = {{{1, 0, 0}, {.2f, .8f, 0}, {.1f, .2f, .7f}}};  // sums 1.3 1.0 .7
  HiMap method({.layers = {2, 8}, .keep = {{2, false}, {1, false}}});
  ASSERT_TRUE(method.plan(stage.layout(), kShape));
  EXPECT_EQ(select(method, 0, stage), (std::vector<std::int32_t>{0, 2}));
  EXPECT_EQ(select(method, 1, stage), (std::vector<std::int32_t>{0}));
}

TEST(RandomChoice, the_same_seed_and_prompt_choose_the_same_tokens) {
  FakeStage stage(simple_layout(0, 100, 2));
  RandomChoice a({.layers = {0}, .keep = {{30, false}}}, 7),
      b({.layers = {0}, .keep = {{30, false}}}, 7), c({.layers = {0}, .keep = {{30, false}}}, 8);
  for (RandomChoice* method : {&a, &b, &c}) ASSERT_TRUE(method->plan(stage.layout(), kShape));
  EXPECT_EQ(select(a, 0, stage), select(b, 0, stage));
  EXPECT_NE(select(a, 0, stage), select(c, 0, stage));
}

TEST(RandomChoice, another_prompt_gets_another_draw) {
  SequenceLayout layout = simple_layout(0, 100, 2);
  FakeStage first(layout);
  layout.fingerprint = 99;
  FakeStage second(layout);
  RandomChoice method({.layers = {0}, .keep = {{30, false}}}, 7);
  ASSERT_TRUE(method.plan(layout, kShape));
  EXPECT_NE(select(method, 0, first), select(method, 0, second));
}

TEST(RandomChoice, every_token_is_kept_about_equally_often) {
  std::vector<int> times(50, 0);
  SequenceLayout layout = simple_layout(0, 50, 1);
  RandomChoice method({.layers = {0}, .keep = {{10, false}}}, 1);
  for (int prompt = 0; prompt < 2000; ++prompt) {
    layout.fingerprint = static_cast<std::uint64_t>(prompt);
    FakeStage stage(layout);
    ASSERT_TRUE(method.plan(layout, kShape));
    for (const std::int32_t id : select(method, 0, stage)) ++times[static_cast<std::size_t>(id)];
  }
  // 2000 draws at probability 0.2: mean 400, standard deviation 18; six of them either way.
  for (const int count : times) EXPECT_NEAR(count, 400, 108);
}

TEST(UniformChoice, tokens_lie_at_even_distances) {
  FakeStage stage(simple_layout(0, 10, 1));
  UniformChoice method({.layers = {0}, .keep = {{4, false}}});
  ASSERT_TRUE(method.plan(stage.layout(), kShape));
  EXPECT_EQ(select(method, 0, stage),
            (std::vector<std::int32_t>{1, 3, 6, 8}));  // floor((i + .5) 10 / 4)
}

}  // namespace
}  // namespace fovea
