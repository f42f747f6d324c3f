#include "pruning/vit/tome.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fovea {
namespace {

using Counts = std::vector<std::int64_t>;

Counts merges(const ToMeSettings& settings, int blocks, std::int64_t patches,
              std::int64_t special = 1) {
  const auto found = tome_merges(settings, blocks, patches, special);
  EXPECT_TRUE(found) << found.error().to_string();
  return found ? *found : Counts{};
}

TEST(ToMeSchedule, one_number_holds_for_every_block) {
  EXPECT_EQ(merges({.merges = {8}}, 4, 196), (Counts{8, 8, 8, 8}));
}

// methods: lo = int(r (1 - inflect)), hi = 2r - lo, block i merges int(lo + i (hi - lo) / (n - 1)).
TEST(ToMeSchedule, an_inflection_bends_it) {
  EXPECT_EQ(merges({.merges = {8}, .inflect = -1}, 5, 196), (Counts{16, 12, 8, 4, 0}));
  EXPECT_EQ(merges({.merges = {8}, .inflect = 1}, 5, 196), (Counts{0, 4, 8, 12, 16}));
  EXPECT_EQ(merges({.merges = {5}, .inflect = 0.5}, 3, 196), (Counts{2, 5, 8}));
}

TEST(ToMeSchedule, a_list_ends_in_blocks_that_merge_none) {
  EXPECT_EQ(merges({.merges = {3, 2}}, 4, 196), (Counts{3, 2, 0, 0}));
}

TEST(ToMeSchedule, no_block_merges_more_than_half_of_what_is_there) {
  EXPECT_EQ(merges({.merges = {100}}, 4, 16), (Counts{8, 4, 2, 1}));
}

TEST(ToMeSchedule, a_share_kept_is_reached_at_the_end) {
  const Counts spread = merges({.keep = 0.5}, 12, 196);
  std::int64_t total = 0;
  for (const std::int64_t count : spread) total += count;
  EXPECT_EQ(total, 98);
  EXPECT_EQ(spread.front(), 9);
  EXPECT_EQ(spread.back(), 8);
  EXPECT_EQ(merges({}, 3, 196), (Counts{0, 0, 0})) << "keeping all merges none";
}

TEST(ToMeSchedule, what_makes_no_sense_is_refused) {
  for (const ToMeSettings& wrong :
       {ToMeSettings{.merges = {-1}}, ToMeSettings{.merges = {1, 1, 1}},
        ToMeSettings{.merges = {1}, .inflect = 2}, ToMeSettings{.keep = -0.1},
        ToMeSettings{.keep = std::nan("")}}) {
    const auto found = tome_merges(wrong, 2, 16, 1);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, ErrorCode::usage);
  }
}

VitWork deit_small() {
  return {.hidden = 384, .intermediate = 1536, .patch_inputs = 768, .patches = 196};
}

TEST(EqualWork, shares_are_solved_for_a_share_of_the_work) {
  const VitWork work = deit_small();
  const std::vector<int> cuts{4, 7, 10};
  const auto keep = keep_for_work(work, cuts, 12, 1, 0.65);
  ASSERT_TRUE(keep) << keep.error().to_string();
  EXPECT_NEAR(keep->at(1), keep->at(0) * keep->at(0), 1e-12);
  Counts entering;
  std::int64_t tokens = 197;
  for (int block = 0; block < 12; ++block) {
    for (std::size_t i = 0; i < cuts.size(); ++i) {
      if (cuts[i] == block) tokens = 1 + std::llround(keep->at(i) * 196);
    }
    entering.push_back(tokens);
  }
  EXPECT_NEAR(work.gflops(entering) / work.gflops(Counts(12, 197)), 0.65, 0.005);
  EXPECT_NEAR(keep_for_work(work, cuts, 12, 1, 1.0)->at(0), 1.0, 0.003);
  const auto least = keep_for_work(work, cuts, 12, 1, 0.2);
  ASSERT_FALSE(least) << "the four blocks before the first cut cost a third";
  EXPECT_EQ(least.error().code, ErrorCode::usage);
}

TEST(EqualWork, merges_are_solved_for_a_share_of_the_work) {
  const VitWork work = deit_small();
  const auto keep = tome_keep_for_work(work, 12, 1, 0.65);
  ASSERT_TRUE(keep) << keep.error().to_string();
  Counts entering, after;
  std::int64_t tokens = 197;
  for (const std::int64_t count : merges({.keep = *keep}, 12, 196)) {
    entering.push_back(tokens);
    after.push_back(tokens -= count);
  }
  EXPECT_NEAR(work.gflops(entering, after) / work.gflops(Counts(12, 197)), 0.65, 0.005);
  EXPECT_FALSE(tome_keep_for_work(work, 12, 1, 0.01));
}

}  // namespace
}  // namespace fovea
