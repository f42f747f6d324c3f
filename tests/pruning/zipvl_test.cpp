#include "pruning/methods/zipvl.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "pruning/draw.h"
#include "support/fake_stage.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::kept;
using testing::simple_layout;

constexpr ModelShape kShape{.layers = 4, .heads = 2, .kv_heads = 2, .hidden_size = 8};

TEST(ZipVl, probes_are_the_recent_and_some_drawn_by_lot) {
  const std::vector<std::int32_t> probes = probe_positions(100, 7);
  ASSERT_EQ(probes.size(), 10u);
  EXPECT_EQ(std::vector<std::int32_t>(probes.begin() + 5, probes.end()),
            (std::vector<std::int32_t>{95, 96, 97, 98, 99}));
  EXPECT_TRUE(std::is_sorted(probes.begin(), probes.end()));
  EXPECT_LT(probes[4], 95);
  EXPECT_EQ(probes, probe_positions(100, 7));
  EXPECT_NE(probes, probe_positions(100, 8));
}

TEST(ZipVl, short_prompts_have_probes_too) {
  EXPECT_EQ(probe_positions(1, 7), (std::vector<std::int32_t>{0}));
  EXPECT_EQ(probe_positions(2, 7), (std::vector<std::int32_t>{0, 1}));
}

std::vector<std::int32_t> select(ZipVl& method, FakeStage& stage) {
  Context context;
  const auto plan = method.plan(stage.layout(), kShape);
  EXPECT_TRUE(plan) << plan.error().to_string();
  Selection selection;
  const Status status = method.select(context, 0, stage, selection);
  EXPECT_TRUE(status) << status.error().to_string();
  EXPECT_LE(*selection.device_count.as<std::int32_t>(), selection.count);
  return kept(selection);
}

/// One system token, three visual ones, one word: five tokens, of which position 4 and one drawn
/// one are probes.
FakeStage stage_of(const std::vector<float>& last, const std::vector<float>& drawn) {
  FakeStage stage(simple_layout(1, 3, 1));
  stage.probes_all = {{drawn, last}};
  return stage;
}

TEST(ZipVl, tokens_beyond_the_share_skip_the_attention) {
  // Sums .9 .4 .4 .1 .2 of 2: all but one of the small ones carry .9 of it.
  FakeStage stage = stage_of({.4f, .2f, .2f, .05f, .15f}, {.5f, .2f, .2f, .05f, .05f});
  ZipVl method(.9, 0);
  EXPECT_EQ(select(method, stage), (std::vector<std::int32_t>{0, 1}));
}

TEST(ZipVl, early_tokens_lose_the_head_start_of_being_seen_by_more_probes) {
  FakeStage stage(simple_layout(1, 3, 1));
  const std::int32_t drawn = probe_positions(5, draw_key(0, 0))[0];
  ASSERT_LT(drawn, 4);
  // Tokens up to `drawn` are seen by two probes, later ones by one.
  std::vector<float> first(5, 0.0f), last(5, .1f);
  for (std::int32_t i = 0; i <= drawn; ++i) first[static_cast<std::size_t>(i)] = .1f;
  stage.probes_all = {{first, last}};
  // All have .1 for each probe that sees them: equal ranks, and the lowest indices go first.
  ZipVl method(.5, 0);
  const std::vector<std::int32_t> chosen = select(method, stage);
  for (std::size_t i = 0; i < chosen.size(); ++i) EXPECT_EQ(chosen[i], static_cast<int>(i));
  EXPECT_LT(chosen.size(), 3u);
}

TEST(ZipVl, bypasses_at_every_layer_with_counts_found_on_the_way) {
  ZipVl method(.975, 0);
  const auto plan = method.plan(simple_layout(3, 16, 4), kShape);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(plan->stages[i].layer, static_cast<int>(i));
    EXPECT_TRUE(plan->stages[i].bypass);
    EXPECT_TRUE(plan->stages[i].dynamic_count);
    EXPECT_EQ(plan->stages[i].keep, 16);
    EXPECT_FALSE(plan->stages[i].probes.empty());
  }
}

TEST(ZipVl, tau_1_is_the_run_without_pruning) {
  ZipVl method(1, 0);
  const auto plan = method.plan(simple_layout(3, 16, 4), kShape);
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->stages.empty());
}

TEST(ZipVl, takes_a_preset_or_a_tau_and_nothing_else) {
  const auto field_of = [](MethodRequest request) {
    request.name = "zipvl";
    const auto policy = make_policy(request);
    return policy ? std::string("accepted") : policy.error().field;
  };
  EXPECT_EQ(field_of({.schedule = {.preset = "0.96"}}), "accepted");
  EXPECT_EQ(field_of({.options = {{"tau", "0.9"}}}), "accepted");
  EXPECT_EQ(field_of({.schedule = {.preset = "0.5"}}), "--prune-preset");
  EXPECT_EQ(field_of({.schedule = {.layers = {1}}}), "--prune-layers");
  EXPECT_EQ(field_of({.schedule = {.keep = {{3}}}}), "--prune-keep");
  EXPECT_EQ(field_of({.schedule = {.budget = 64.0}}), "--prune-budget");
  for (const char* tau : {"", "1.1", "-0.1", "nan", "0.9x", "most"}) {
    EXPECT_EQ(field_of({.options = {{"tau", tau}}}), "tau") << tau;
  }
}

}  // namespace
}  // namespace fovea
