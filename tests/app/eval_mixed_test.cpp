// Questions of every kind in one run: without pictures, with one that is not square, with several.

#include <gtest/gtest.h>

#include "command.h"

namespace fovea::testing {
namespace {

class EvalMixed : public ::testing::Test {
 protected:
  EvalMixed() {
    questions_ = folder_.write(
        "q.jsonl",
        R"({"question_id": 1, "text": "Hello?", "category": "text"})"
        "\n"
        R"({"question_id": 2, "image": "picture-0000.jpg", "text": "How many things are there?", "category": "one", "evidence": [3, 575]})"
        "\n"
        R"({"question_id": 3, "image": ["picture-0000.jpg", "picture-0001.jpg", "picture-0002.jpg"], "text": "How many things are there?", "category": "clip", "evidence": [3, 600, 1727]})"
        "\n"
        R"({"question_id": 4, "image": ["picture-0000.jpg", "picture-0001.jpg"], "text": "How many?", "category": "clip", "evidence": [1152]})"
        "\n");
    folder_.write("q-labels.jsonl", R"({"question_id": 1, "answer": "x"})"
                                    "\n"
                                    R"({"question_id": 2, "answer": "x"})"
                                    "\n"
                                    R"({"question_id": 3, "answer": "x"})"
                                    "\n"
                                    R"({"question_id": 4, "answer": "x"})"
                                    "\n");
  }
  CommandResult eval(const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"eval",
                                       "--model",
                                       base_model(),
                                       "--questions",
                                       questions_,
                                       "--image-folder",
                                       source_path("assets/eval/images"),
                                       "--threads",
                                       "2",
                                       "--max-new-tokens",
                                       "4",
                                       "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_fovea(arguments);
  }

  TemporaryFolder folder_;
  std::string questions_;
};

TEST_F(EvalMixed, evidence_runs_on_over_the_frames_and_must_lie_in_them) {
  const CommandResult result =
      eval({"--prune", "none", "--prune", "random:keep=0.5", "--control", "evidence-only",
            "--control", "evidence-only:budget=100", "--answers", folder_ / "a.jsonl"});
  EXPECT_EQ(result.exit_code, 1) << "question 4 names a token its two frames do not have";
  EXPECT_NE(result.err.find("1152"), std::string::npos) << result.err;
  const Json json = json_of(result);
  const auto runs = at(json, {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_NEAR(at(runs[0], {"entering_mean"}).as_double(), (576 + 3 * 576) / 2.0, 1e-9)
      << "over the questions with pictures";
  EXPECT_NEAR(at(runs[1], {"entering_mean"}).as_double(), (288 + 3 * 288) / 2.0, 1e-9);
  EXPECT_EQ(at(runs[0], {"category_counts", "clip", "questions"}).as_int(), 2);
  const auto controls = at(json, {"controls"}).as_array();
  EXPECT_EQ(at(controls[0], {"questions"}).as_int(), 3) << "two asked, one failed";
  EXPECT_NEAR(at(controls[0], {"entering_mean"}).as_double(), (2 + 3) / 2.0, 1e-9);
  EXPECT_EQ(at(controls[1], {"entering_mean"}).as_double(), 100);
  EXPECT_EQ(at(controls[1], {"evidence_kept"}).as_double(), 1);
}

TEST_F(EvalMixed, a_budget_may_be_a_share_of_each_prompts_tokens) {
  const CommandResult result =
      eval({"--limit", "3", "--prune", "fastv:budget=0.5", "--prune", "uniform:budget=0.25",
            "--control", "no-visual:budget=0.5"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = json_of(result);
  const auto runs = at(json, {"runs"}).as_array(), controls = at(json, {"controls"}).as_array();
  EXPECT_NEAR(at(runs[0], {"entering_mean"}).as_double(), (288 + 3 * 288) / 2.0, 1);
  EXPECT_NEAR(at(runs[1], {"entering_mean"}).as_double(), (144 + 3 * 144) / 2.0, 1);
  EXPECT_NEAR(at(controls[0], {"entering_mean"}).as_double(), (288 + 3 * 288) / 2.0, 1e-9);
  const CommandResult refused = eval({"--limit", "3", "--prune", "fastv:budget=100"});
  EXPECT_EQ(refused.exit_code, 2) << "three pictures cost more before the first cut";
  EXPECT_NE(refused.err.find("0.5"), std::string::npos) << refused.err;
}

TEST_F(EvalMixed, seeds_of_one_setting_count_as_one) {
  const CommandResult result =
      eval({"--limit", "3", "--prune", "random:keep=100:seed=1+2+3", "--prune", "fastv",
            "--merge-seeds", "--csv", folder_ / "t.csv"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto runs = at(json_of(result), {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(at(runs[0], {"prune"}).as_string(), "random:keep=100:seed=1+2+3");
  EXPECT_EQ(at(runs[0], {"seed_accuracies"}).as_array().size(), 3U);
  EXPECT_EQ(at(runs[0], {"entering_mean"}).as_double(), 100);
  EXPECT_EQ(at(runs[0], {"questions"}).as_int(), 3);
  const double kept = at(runs[0], {"evidence_kept"}).as_double();
  EXPECT_GE(kept, 0.0);
  EXPECT_LE(kept, 1.0);
  EXPECT_EQ(runs[1].find("seed_accuracies"), nullptr);
}

TEST_F(EvalMixed, scores_are_written_for_each_question_and_setting_that_ranks) {
  const CommandResult result = eval({"--limit", "3", "--prune", "none", "--prune",
                                     "fastv:layers=2:keep=50", "--dump-scores", folder_ / "s"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string base = folder_ / "s/fastv-layers=2-keep=50/";
  EXPECT_TRUE(std::filesystem::exists(base + "2/stage-1-before-2.npy"));
  EXPECT_TRUE(std::filesystem::exists(base + "3/stage-1-before-2.npy"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "s/none"));
}

TEST_F(EvalMixed, several_frames_are_compared_under_settings) {
  const CommandResult result = run_fovea(
      {"ask", "--model", base_model(), "--threads", "2", "--image", eval_picture(), "--image",
       source_path("assets/eval/images/picture-0001.jpg"), "--question", "How many?",
       "--compare", "none,fastv:keep=100,random:keep=0.25,adaptinfer", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto runs = at(json_of(result), {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_EQ(at(runs[0], {"visual_tokens", "initial"}).as_int(), 1152);
  EXPECT_EQ(at(runs[2], {"visual_tokens", "entering_mean"}).as_double(), 288);
}

TEST_F(EvalMixed, an_exit_curve_tells_shares_from_none_to_all) {
  const CommandResult result = eval({"--limit", "3", "--guide", guide_model(), "--exit-curve",
                                     folder_ / "exit.csv", "--exit-plot", folder_ / "exit.png"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto curves = at(json_of(result), {"exit_curves"}).as_array();
  ASSERT_EQ(curves.size(), 1U);
  const auto series = at(curves[0], {"series"}).as_array();
  ASSERT_EQ(series.size(), 3U);
  for (const Json& one : series) {
    const auto points = at(one, {"points"}).as_array();
    ASSERT_EQ(points.size(), 11U);
    EXPECT_LT(at(points[10], {"total_ms"}).as_double(), at(points[0], {"total_ms"}).as_double());
  }
  EXPECT_TRUE(std::filesystem::exists(folder_ / "exit.png"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "exit.csv"));
}

}  // namespace
}  // namespace fovea::testing
