#include "pruning/vit/adaptive_vit.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "kernels/ops/ratings/ratings.h"

namespace fovea {
namespace {

using Survivors = std::vector<std::vector<std::int32_t>>;

ConstTensorView view_of(const std::vector<float>& values, std::int64_t heads) {
  const auto patches = static_cast<std::int64_t>(values.size()) / heads;
  return {reinterpret_cast<const std::byte*>(values.data()), DType::f32, {heads, patches}};
}

TensorView room_for(std::vector<float>& scores) {
  return {reinterpret_cast<std::byte*>(scores.data()),
          DType::f32,
          {static_cast<std::int64_t>(scores.size())}};
}

std::vector<float> scores_of(const std::vector<float>& class_rows, const std::vector<float>& norms,
                             std::int64_t heads) {
  std::vector<float> scores(class_rows.size() / static_cast<std::size_t>(heads));
  Context context;
  EXPECT_TRUE(scores_by_head_norms(context, view_of(class_rows, heads), view_of(norms, heads),
                                   room_for(scores)));
  return scores;
}

/// Adds scores, and cuts, on the CPU.
void add(VitPruning& pruning, std::int64_t picture, const std::vector<float>& scores) {
  Context context;
  const ConstTensorView view(reinterpret_cast<const std::byte*>(scores.data()), DType::f32,
                             {static_cast<std::int64_t>(scores.size())});
  const Status status = pruning.add_scores(context, picture, view);
  EXPECT_TRUE(status) << status.error().to_string();
}

Survivors cut_of(VitPruning& pruning, int index) {
  Context context;
  auto survivors = pruning.cut(context, index);
  EXPECT_TRUE(survivors) << survivors.error().to_string();
  return survivors ? *survivors : Survivors{};
}

std::vector<float> state_of(const VitPruning& pruning) {
  Context context;
  auto state = pruning.state(context, 0);
  EXPECT_TRUE(state);
  return state ? *state : std::vector<float>{};
}

VitPruneSettings one_cut(float threshold, VitKeepRule rule = VitKeepRule::threshold) {
  VitPruneSettings settings;
  settings.cuts = {{.block = 4, .threshold = threshold, .keep_share = 0.5}};
  settings.rule = rule;
  return settings;
}

Survivors cut_once(const VitPruneSettings& settings,
                   const std::vector<std::vector<float>>& scores) {
  std::vector<std::uint64_t> keys(scores.size());
  for (std::size_t p = 0; p < keys.size(); ++p) keys[p] = p;
  VitPruning pruning(settings, keys, static_cast<std::int64_t>(scores.front().size()));
  for (std::size_t p = 0; p < scores.size(); ++p) {
    add(pruning, static_cast<std::int64_t>(p), scores[p]);
  }
  return cut_of(pruning, 0);
}

// ---- Scores (section 3) ------------------------------------------------------------------------

TEST(AdaptiveVit, scores_of_the_hand_case) {
  const std::vector<float> scores =
      scores_of({.2F, .3F, .1F, .1F, .1F, .5F}, {3, 1, 1, 1, 1, 4}, 2);
  EXPECT_NEAR(scores[0], .175, 1e-7);
  EXPECT_NEAR(scores[1], .200, 1e-7);
  EXPECT_NEAR(scores[2], .420, 1e-7);
}

TEST(AdaptiveVit, equal_norms_give_the_mean_over_heads) {
  const std::vector<float> scores =
      scores_of({.2F, .3F, .1F, .1F, .1F, .5F}, {2, 5, 7, 2, 5, 7}, 2);
  EXPECT_NEAR(scores[0], .15, 1e-7);
  EXPECT_NEAR(scores[1], .20, 1e-7);
  EXPECT_NEAR(scores[2], .30, 1e-7);
}

TEST(AdaptiveVit, one_head_gives_the_class_attention) {
  const std::vector<float> scores = scores_of({.2F, .3F, .5F}, {3, .01F, 100}, 1);
  EXPECT_NEAR(scores[0], .2, 1e-6);
  EXPECT_NEAR(scores[1], .3, 1e-6);
  EXPECT_NEAR(scores[2], .5, 1e-6);
}

TEST(AdaptiveVit, a_patch_that_nothing_was_written_into_scores_zero) {
  EXPECT_EQ(scores_of({.2F, .3F}, {0, 0}, 2)[0], 0.0F);
}

TEST(AdaptiveVit, shapes_that_disagree_are_usage_errors) {
  const std::vector<float> six(6), four(4);
  std::vector<float> scores(3);
  Context context;
  EXPECT_FALSE(scores_by_head_norms(context, view_of(six, 2), view_of(four, 2), room_for(scores)));
  EXPECT_FALSE(scores_by_head_norms(context, view_of(six, 3), view_of(six, 3), room_for(scores)));
}

// ---- Survivors (section 4) ---------------------------------------------------------------------

TEST(AdaptiveVit, a_threshold_is_strict) {
  const std::vector<float> scores =
      scores_of({.2F, .3F, .1F, .1F, .1F, .5F}, {3, 1, 1, 1, 1, 4}, 2);
  EXPECT_EQ(cut_once(one_cut(.18F), {scores}), (Survivors{{1, 2}}));
  EXPECT_EQ(cut_once(one_cut(scores[1]), {scores}), (Survivors{{2}}));
}

TEST(AdaptiveVit, each_picture_of_a_batch_keeps_its_own) {
  EXPECT_EQ(cut_once(one_cut(.3F), {{.1F, .4F, .5F}, {.4F, .2F, .1F}, {.1F, .1F, .1F}}),
            (Survivors{{1, 2}, {0}, {}}));
}

TEST(AdaptiveVit, batch_average_keeps_the_rounded_down_mean_of_the_best) {
  // Three and six lie above: floor(9 / 2) = 4 for both, the best by score, in order of index.
  const std::vector<float> three{.9F, .1F, .8F, .1F, .7F, .2F, .1F};
  const std::vector<float> six{.4F, .5F, .6F, .7F, .8F, .9F, .1F};
  EXPECT_EQ(cut_once(one_cut(.3F, VitKeepRule::batch_average), {three, six}),
            (Survivors{{0, 2, 4, 5}, {2, 3, 4, 5}}));
}

TEST(AdaptiveVit, top_k_and_random_keep_a_share_of_all_patches) {
  VitPruneSettings settings;
  settings.cuts = {{.block = 3, .threshold = 0, .keep_share = .75},
                   {.block = 5, .threshold = 0, .keep_share = .5}};
  for (const VitKeepRule rule : {VitKeepRule::top_k, VitKeepRule::random}) {
    settings.rule = rule;
    const std::vector<std::uint64_t> keys{7};
    VitPruning pruning(settings, keys, 8);
    const std::vector<float> scores{.1F, .8F, .2F, .7F, .3F, .6F, .4F, .5F};
    add(pruning, 0, scores);
    const auto first = cut_of(pruning, 0).front();
    EXPECT_EQ(first.size(), 6U);
    if (rule == VitKeepRule::top_k) {
      EXPECT_EQ(first, (std::vector<std::int32_t>{1, 3, 4, 5, 6, 7}));
    }
    EXPECT_EQ(cut_of(pruning, 1).front().size(), 4U);
  }
}

TEST(AdaptiveVit, random_depends_on_seed_and_picture_alone) {
  VitPruneSettings settings = one_cut(0, VitKeepRule::random);
  const auto draw = [&](std::uint64_t seed, std::uint64_t key) {
    settings.seed = seed;
    const std::vector<std::uint64_t> keys{key};
    VitPruning pruning(settings, keys, 64);
    return cut_of(pruning, 0).front();
  };
  EXPECT_EQ(draw(1, 2), draw(1, 2));
  EXPECT_NE(draw(1, 2), draw(2, 2));
  EXPECT_NE(draw(1, 2), draw(1, 3));
}

// ---- Score state -------------------------------------------------------------------------------

TEST(AdaptiveVit, states_follow_the_survivors) {
  struct Case {
    VitScoreState state;
    float first, second;  // of the patch that stays: before and after the second scores
  };
  for (const Case& wanted : {Case{VitScoreState::last, .5F, .3F},
                             {VitScoreState::accu, .5F, .8F},
                             {VitScoreState::ema, .5F, .99F * .5F + .01F * .3F}}) {
    VitPruneSettings settings = one_cut(.4F);
    settings.state = wanted.state;
    const std::vector<std::uint64_t> keys{0};
    VitPruning pruning(settings, keys, 3);
    add(pruning, 0, {.1F, .5F, .2F});
    EXPECT_EQ(state_of(pruning)[1], wanted.first);
    EXPECT_EQ(cut_of(pruning, 0), (Survivors{{1}}));
    add(pruning, 0, {.3F});
    ASSERT_EQ(state_of(pruning).size(), 1U);
    EXPECT_FLOAT_EQ(state_of(pruning)[0], wanted.second);
  }
}

TEST(AdaptiveVit, only_scores_that_can_decide_are_asked_for) {
  VitPruneSettings settings;
  settings.cuts = {{.block = 4}, {.block = 7}};
  const std::vector<std::uint64_t> keys{0};
  const auto asked = [&](VitScoreState state, VitKeepRule rule) {
    settings.state = state;
    settings.rule = rule;
    const VitPruning pruning(settings, keys, 3);
    std::vector<int> blocks;
    for (int block = 0; block < 12; ++block) {
      if (pruning.wants_scores(block)) blocks.push_back(block);
    }
    return blocks;
  };
  EXPECT_EQ(asked(VitScoreState::last, VitKeepRule::threshold), (std::vector<int>{3, 6}));
  EXPECT_EQ(asked(VitScoreState::accu, VitKeepRule::threshold), (std::vector<int>{2, 3, 4, 5, 6}));
  EXPECT_EQ(asked(VitScoreState::last, VitKeepRule::random), (std::vector<int>{}));
}

// ---- Settings ----------------------------------------------------------------------------------

TEST(AdaptiveVit, cuts_move_to_other_depths) {
  EXPECT_EQ(default_vit_cuts(12), (std::vector<int>{4, 7, 10}));
  EXPECT_EQ(default_vit_cuts(24), (std::vector<int>{8, 14, 20}));
  EXPECT_EQ(default_vit_cuts(6), (std::vector<int>{3, 4, 5}));
  EXPECT_EQ(default_vit_cuts(5), (std::vector<int>{3, 4}));
  EXPECT_TRUE(default_vit_cuts(3).empty());
}

TEST(AdaptiveVit, impossible_cuts_are_usage_errors_that_name_them) {
  const auto check = [](std::vector<VitCut> cuts, VitKeepRule rule) {
    VitPruneSettings settings;
    settings.cuts = std::move(cuts);
    settings.rule = rule;
    return check_vit_prune(settings, 12);
  };
  EXPECT_TRUE(check({{.block = 3}, {.block = 11}}, VitKeepRule::threshold));
  EXPECT_FALSE(check({{.block = 2}}, VitKeepRule::threshold));
  EXPECT_FALSE(check({{.block = 12}}, VitKeepRule::threshold));
  EXPECT_FALSE(check({{.block = 5}, {.block = 5}}, VitKeepRule::threshold));
  EXPECT_FALSE(check({{.block = 5, .threshold = std::numeric_limits<float>::quiet_NaN()}},
                     VitKeepRule::threshold));
  const Status rising = check({{.block = 5, .threshold = 0, .keep_share = .5},
                               {.block = 6, .threshold = 0, .keep_share = .6}},
                              VitKeepRule::top_k);
  ASSERT_FALSE(rising);
  EXPECT_EQ(rising.error().code, ErrorCode::usage);
  EXPECT_NE(rising.error().message.find("cut 2"), std::string::npos);
}

// ---- Work (section 5) --------------------------------------------------------------------------

TEST(VitWork, counts_deit_small_as_the_paper_does) {
  const VitWork work{.hidden = 384, .intermediate = 1536, .patch_inputs = 768, .patches = 196};
  EXPECT_NEAR(12 * work.block_gflops(197), 4.541, 5e-4);
  EXPECT_NEAR(work.embedding_gflops(), .0578, 5e-5);
  EXPECT_NEAR(work.gflops(std::vector<std::int64_t>(12, 197)), 4.598, 5e-4);
  EXPECT_NEAR(work.gflops(std::vector<std::int64_t>(12, 196)), 4.574, 5e-4);
  EXPECT_NEAR(.65 * work.gflops(std::vector<std::int64_t>(12, 196)), 2.973, 5e-4);
}

}  // namespace
}  // namespace fovea
