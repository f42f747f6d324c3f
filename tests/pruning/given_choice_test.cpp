// Choices made elsewhere: tokens named one by one, or ranked by scores from a file.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "pruning/methods/given_scores.h"
#include "pruning/methods/given_tokens.h"
#include "pruning/score_record.h"
#include "support/fake_stage.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::kept;
using testing::simple_layout;
using testing::TemporaryFolder;

const ModelShape kShape{.layers = 4, .heads = 2, .kv_heads = 2, .hidden_size = 8};

std::vector<std::int32_t> select(Policy& policy, const std::vector<std::int32_t>& present) {
  FakeStage stage(simple_layout(2, 6, 2));
  stage.set_visual_ids(present);
  Context context;
  Selection selection;
  const Status status = policy.select(context, 0, stage, selection);
  EXPECT_TRUE(status) << status.error().to_string();
  return kept(selection);
}

TEST(GivenTokens, those_named_are_kept_and_the_others_dropped) {
  const SequenceLayout layout = simple_layout(2, 6, 2);
  GivenTokens keep({1, 4}, GivenTokens::Named::kept, 2);
  const auto plan = keep.plan(layout, kShape);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 1U);
  EXPECT_EQ(plan->stages[0].when, Hook::before_layer);
  EXPECT_EQ(plan->stages[0].layer, 2);
  EXPECT_EQ(plan->stages[0].keep, 2);
  EXPECT_EQ(plan->stages[0].attention, AttentionSource::none);
  EXPECT_EQ(select(keep, {0, 1, 2, 3, 4, 5}), (std::vector<std::int32_t>{1, 4}));
  EXPECT_EQ(select(keep, {1, 3, 5}), (std::vector<std::int32_t>{0})) << "4 is not there any more";
}

TEST(GivenTokens, those_named_may_be_the_dropped_ones) {
  GivenTokens drop({1, 4}, GivenTokens::Named::dropped, 0);
  const auto plan = drop.plan(simple_layout(2, 6, 2), kShape);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->stages.at(0).keep, 4);
  EXPECT_EQ(select(drop, {0, 1, 2, 3, 4, 5}), (std::vector<std::int32_t>{0, 2, 3, 5}));
}

TEST(GivenTokens, ids_are_read_from_lists_and_plain_numbers) {
  using Ids = std::vector<std::int32_t>;
  for (const char* text : {"[0, 5, 9]", " [9,5,0]\n", "0 5 9", "5\n0\n9\n", "0,5,9"}) {
    const auto ids = parse_token_ids(text);
    ASSERT_TRUE(ids) << text;
    EXPECT_EQ(*ids, (Ids{0, 5, 9})) << text;
  }
  for (const char* none : {"", " \n", "[]", "[ ]"}) {
    ASSERT_TRUE(parse_token_ids(none)) << none;
    EXPECT_TRUE(parse_token_ids(none)->empty());
  }
  for (const char* wrong : {"[", "[1, 2", "a", "1 x", "-1", "1.5", "[1] 2", "3 3", "9999999999"}) {
    const auto ids = parse_token_ids(wrong);
    ASSERT_FALSE(ids) << wrong;
    EXPECT_EQ(ids.error().code, ErrorCode::bad_input);
    EXPECT_FALSE(ids.error().remedy.empty());
  }
}

TEST(GivenTokens, a_file_names_those_kept_before_one_layer) {
  const TemporaryFolder folder;
  MethodRequest request{.name = "given_tokens"};
  request.config = folder.write("ids.json", "[4, 1]");
  request.schedule.layers = {2};
  const auto policy = make_policy(request);
  ASSERT_TRUE(policy) << policy.error().to_string();
  const auto plan = (*policy)->plan(simple_layout(2, 6, 2), kShape);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->stages.at(0).layer, 2);
  EXPECT_EQ(select(**policy, {0, 1, 2, 3, 4, 5}), (std::vector<std::int32_t>{1, 4}));
  request.schedule.keep = {{3, false}};
  EXPECT_FALSE(make_policy(request)) << "the file says how many";
  const auto without = make_policy({.name = "given_tokens"});
  ASSERT_TRUE(without);
  const auto refused = (*without)->plan(simple_layout(2, 6, 2), kShape);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().field, "--keep");
}

TEST(GivenTokens, keeping_none_is_a_stage_and_keeping_all_is_none) {
  const SequenceLayout layout = simple_layout(2, 6, 2);
  GivenTokens none({}, GivenTokens::Named::kept, 0);
  EXPECT_EQ(none.plan(layout, kShape)->stages.at(0).keep, 0);
  EXPECT_TRUE(select(none, {0, 1, 2}).empty());
  GivenTokens all({0, 1, 2, 3, 4, 5}, GivenTokens::Named::kept, 0);
  EXPECT_TRUE(all.plan(layout, kShape)->stages.empty());
  EXPECT_TRUE(GivenTokens({}, GivenTokens::Named::dropped, 0).plan(layout, kShape)->stages.empty());
}

TEST(GivenTokens, names_that_fit_nothing_are_usage_errors) {
  const SequenceLayout layout = simple_layout(2, 6, 2);
  const auto refusal = [&](std::vector<std::int32_t> ids, int layer) {
    GivenTokens policy(std::move(ids), GivenTokens::Named::kept, layer);
    const auto plan = policy.plan(layout, kShape);
    EXPECT_FALSE(plan);
    return plan ? "" : plan.error().message;
  };
  EXPECT_NE(refusal({6}, 0).find("token 6"), std::string::npos);
  EXPECT_NE(refusal({-1, 2}, 0).find("token -1"), std::string::npos);
  EXPECT_NE(refusal({2, 2}, 0).find("ascend"), std::string::npos);
  EXPECT_NE(refusal({3, 1}, 0).find("ascend"), std::string::npos);
  EXPECT_NE(refusal({1}, 4).find("layer 4"), std::string::npos);
}

TEST(GivenScores, the_best_of_those_present_are_kept) {
  GivenScores policy({.layers = {1}, .keep = {{2, false}}}, {5, 1, 4, 1, 9, 2});
  const auto plan = policy.plan(simple_layout(2, 6, 2), kShape);
  ASSERT_TRUE(plan) << plan.error().to_string();
  ASSERT_EQ(plan->stages.size(), 1U);
  EXPECT_EQ(plan->stages[0].layer, 1);
  EXPECT_EQ(select(policy, {0, 1, 2, 3, 4, 5}), (std::vector<std::int32_t>{0, 4}));
  EXPECT_EQ(select(policy, {1, 2, 3, 5}), (std::vector<std::int32_t>{1, 3}));
}

TEST(GivenScores, equal_scores_keep_the_lower_index) {
  GivenScores policy({.layers = {1}, .keep = {{3, false}}}, {1, 1, 1, 1, 1, 1});
  ASSERT_TRUE(policy.plan(simple_layout(2, 6, 2), kShape));
  EXPECT_EQ(select(policy, {0, 1, 2, 3, 4, 5}), (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(GivenScores, another_count_or_no_number_is_a_usage_error) {
  const SequenceLayout layout = simple_layout(2, 6, 2);
  GivenScores few({}, {1, 2, 3});
  EXPECT_NE(few.plan(layout, kShape).error().message.find("3 scores"), std::string::npos);
  GivenScores odd({}, {1, 2, 3, std::numeric_limits<float>::quiet_NaN(), 5, 6});
  EXPECT_NE(odd.plan(layout, kShape).error().message.find("score 3"), std::string::npos);
}

TEST(ScoreRecord, tells_what_a_cut_is_made_by_and_changes_nothing) {
  GivenScores policy({.layers = {1, 2}, .keep = {{3, false}, {1, false}}}, {5, 1, 4, 2, 3, 0});
  const auto record = std::make_shared<ScoreRecord>();
  policy.add_adjustment(record);
  ASSERT_TRUE(policy.plan(simple_layout(2, 6, 2), kShape));
  EXPECT_EQ(select(policy, {0, 1, 2, 3, 4, 5}), (std::vector<std::int32_t>{0, 2, 4}));
  FakeStage later(simple_layout(2, 6, 2));
  later.set_visual_ids({0, 2, 4});
  Context context;
  Selection selection;
  ASSERT_TRUE(policy.select(context, 1, later, selection));
  ASSERT_EQ(record->stages().size(), 2U);
  EXPECT_EQ(record->stages()[0].index, 0);
  EXPECT_EQ(record->stages()[0].scores, (std::vector<float>{5, 1, 4, 2, 3, 0}));
  const std::vector<float>& left = record->stages()[1].scores;
  ASSERT_EQ(left.size(), 6U);
  EXPECT_EQ(left[2], 4);
  EXPECT_TRUE(std::isnan(left[1])) << "dropped before";
  record->clear();
  EXPECT_TRUE(record->stages().empty());
}

}  // namespace
}  // namespace fovea
