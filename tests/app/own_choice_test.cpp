// The user's own choice of tokens, own ranking, and the scores behind a method's cuts.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "command.h"
#include "kernels/base/npy.h"

namespace fovea::testing {
namespace {

CommandResult ask(const std::vector<std::string>& more) {
  std::vector<std::string> arguments{
      "ask", "--json",  "--model",      base_model(), "--threads",
      "2",   "--image", eval_picture(), "--question", "How many things are there?"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_fovea(arguments);
}

Json::Array stages_of(const CommandResult& result) {
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return at(json_of(result), {"visual_tokens", "stages"}).as_array();
}

TEST(OwnChoice, the_tokens_named_are_the_tokens_kept) {
  const TemporaryFolder folder;
  const std::string file = folder.write("keep.txt", "300 7\n8");
  const auto stages = stages_of(ask({"--keep", file, "--prune-layers", "2"}));
  ASSERT_EQ(stages.size(), 1U);
  EXPECT_EQ(at(stages[0], {"layer"}).as_int(), 2);
  EXPECT_EQ(at(stages[0], {"when"}).as_string(), "before");
  EXPECT_EQ(at(stages[0], {"kept"}).dump(), "[7,8,300]");
}

TEST(OwnChoice, own_scores_keep_the_best) {
  const TemporaryFolder folder;
  std::vector<float> scores(576);
  for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(i % 100);
  const std::vector<std::int64_t> shape{576};
  ASSERT_TRUE(write_npy(folder / "scores.npy", shape, scores));
  const auto stages = stages_of(
      ask({"--scores", folder / "scores.npy", "--prune-layers", "1", "--prune-keep", "6"}));
  ASSERT_EQ(stages.size(), 1U);
  EXPECT_EQ(at(stages[0], {"kept"}).dump(), "[98,99,199,299,399,499]");
}

TEST(OwnChoice, the_scores_of_a_method_choose_the_same_tokens_again) {
  const TemporaryFolder folder;
  const CommandResult first = ask({"--prune", "fastv:layers=2:keep=40", "--debias", "0.5",
                                   "--debias-padding", "off", "--dump-scores", folder / "scores"});
  const auto stages = stages_of(first);
  const std::string file = folder / "scores/stage-1-before-2.npy";
  const auto scores = read_npy(file);
  ASSERT_TRUE(scores) << scores.error().to_string();
  EXPECT_EQ(scores->shape, (std::vector<std::int64_t>{576}));
  const auto again =
      stages_of(ask({"--scores", file, "--prune-layers", "2", "--prune-keep", "40"}));
  EXPECT_EQ(at(again.at(0), {"kept"}).dump(), at(stages.at(0), {"kept"}).dump());
}

TEST(OwnChoice, later_cuts_have_no_score_for_what_is_gone) {
  const TemporaryFolder folder;
  const CommandResult result =
      ask({"--prune", "adaptinfer:layers=1+3:keep=200+50", "--dump-scores", folder / "scores"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto second = read_npy(folder / "scores/stage-2-after-3.npy");
  ASSERT_TRUE(second);
  EXPECT_EQ(std::count_if(second->values.begin(), second->values.end(),
                          [](float score) { return !std::isnan(score); }),
            200);
}

TEST(OwnChoice, what_does_not_fit_is_refused) {
  const TemporaryFolder folder;
  const std::string ids = folder.write("ids.json", "[1, 2]");
  expect_refused(ask({"--keep", folder.write("bad", "[1, two]")}), 2, "bad");
  expect_refused(ask({"--keep", folder.write("high.json", "[576]")}), 2, "576");
  expect_refused(ask({"--keep", folder / "nowhere"}), 2, "nowhere");
  expect_refused(ask({"--keep", ids, "--prune", "fastv"}), 2, "--keep");
  expect_refused(ask({"--keep", ids, "--prune-budget", "100"}), 2, "--keep");
  expect_refused(ask({"--prune", "given_tokens"}), 2, "--keep");
  expect_refused(ask({"--dump-scores", folder / "s"}), 2, "--dump-scores");
  expect_refused(ask({"--prune", "divprune", "--dump-scores", folder / "s"}), 2, "--dump-scores");
  const std::vector<float> few(10, 1);
  const std::vector<std::int64_t> shape{10};
  ASSERT_TRUE(write_npy(folder / "few.npy", shape, few));
  expect_refused(ask({"--scores", folder / "few.npy"}), 2, "10 scores");
}

TEST(OwnChoice, merged_patches_of_the_tower_stand_in_the_cell_of_their_first_source) {
  const CommandResult result = ask({"--vit-prune", "tome:keep=0.5", "--prune", "fastv:keep=0.5"});
  const auto stages = stages_of(result);
  ASSERT_GE(stages.size(), 2U);
  const Json& last = stages[stages.size() - 2];
  EXPECT_EQ(at(last, {"when"}).as_string(), "vit");
  const auto sources = at(last, {"sources"}).as_array();
  std::size_t patches = at(last, {"kept"}).as_array().size();
  EXPECT_EQ(patches + sources.size(), 288U);
  for (const Json& group : sources) {
    const auto ids = group.as_array();
    patches += ids.size();
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end(), [](const Json& a, const Json& b) {
      return a.as_int() < b.as_int();
    }));
  }
  EXPECT_EQ(patches, 576U);
  EXPECT_EQ(at(stages.back(), {"when"}).as_string(), "before");
  const CommandResult whole = ask({"--vit-prune", "tome:keep=1"});
  EXPECT_EQ(at(json_of(whole), {"token_ids"}).dump(), at(json_of(ask({})), {"token_ids"}).dump());
}

}  // namespace
}  // namespace fovea::testing
