// Schedules, trends and recipes from sample questions, through the command, and their files in use.

#include <gtest/gtest.h>

#include <sstream>

#include "command.h"
#include "kernels/base/npy.h"

namespace fovea::testing {
namespace {

class CalibrateQuestions : public ::testing::Test {
 protected:
  /// The bundled set's first questions.
  std::string questions(int count) {
    const auto text = read_file(source_path("assets/eval/questions.jsonl"), 1 << 24);
    EXPECT_TRUE(text);
    std::istringstream lines(text ? *text : "");
    std::string head;
    for (std::string line; count > 0 && std::getline(lines, line); --count) head += line + "\n";
    return folder_.write("questions.jsonl", head);
  }
  CommandResult calibrate(const std::string& what, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{
        "calibrate",   what,         "--model",        base_model(),
        "--questions", questions(4), "--image-folder", source_path("assets/eval/images"),
        "--threads",   "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_fovea(arguments);
  }
  Json ask(const std::vector<std::string>& more) { return json_of(ask_raw(more)); }
  CommandResult ask_raw(const std::vector<std::string>& more) {
    std::vector<std::string> arguments{
        "ask", "--json",  "--model",      base_model(), "--threads",
        "2",   "--image", eval_picture(), "--question", "How many things are there?"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_fovea(arguments);
  }

  TemporaryFolder folder_;
};

TEST_F(CalibrateQuestions, a_schedule_is_written_and_adaptinfer_cuts_by_it) {
  const std::string path = folder_ / "schedule.json";
  const CommandResult made =
      calibrate("schedule", {"--stages", "2", "--budget", "300", "--out", path, "--json"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Json json = json_of(made);
  EXPECT_EQ(at(json, {"kind"}).as_string(), "schedule");
  EXPECT_EQ(at(json, {"questions"}).as_int(), 4);
  std::int64_t points = 0;
  const auto counts = at(json, {"change_points"}).as_array();
  for (const Json& count : counts) points += count.as_int();
  EXPECT_EQ(points, 4 * 58) << "a tenth of 576 tokens a question";
  const auto stages = at(json, {"stages"}).as_array();
  ASSERT_FALSE(stages.empty());

  const Json answer = ask({"--prune", "adaptinfer", "--prune-config", path});
  const auto used = at(answer, {"visual_tokens", "stages"}).as_array();
  ASSERT_EQ(used.size(), stages.size());
  for (std::size_t i = 0; i < used.size(); ++i) {
    EXPECT_EQ(at(used[i], {"layer"}).as_int(), at(stages[i], {"layer"}).as_int());
    EXPECT_EQ(std::int64_t(at(used[i], {"kept"}).as_array().size()),
              at(stages[i], {"keep"}).as_int());
  }
  EXPECT_NEAR(at(answer, {"visual_tokens", "entering_mean"}).as_double(), 300, 1);
}

TEST_F(CalibrateQuestions, a_trend_is_written_and_debiases_the_method_it_was_made_for) {
  const std::string path = folder_ / "trend.json";
  const CommandResult made =
      calibrate("debias", {"--prune", "fastv", "--out", path, "--table", folder_ / "table.npy",
                           "--plot", folder_ / "trend.png", "--json"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Json json = json_of(made);
  EXPECT_EQ(at(json, {"method"}).as_string(), "fastv");
  EXPECT_EQ(at(json, {"layer"}).as_int(), 1);
  EXPECT_EQ(at(json, {"questions"}).as_int(), 4);
  EXPECT_EQ(at(json, {"mean_scores"}).as_array().size(), 576U);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "trend.png"));
  const auto table = read_npy(folder_ / "table.npy");
  ASSERT_TRUE(table);
  EXPECT_EQ(table->shape, (std::vector<std::int64_t>{576}));

  const Json by_file = ask({"--prune", "fastv", "--debias", path});
  const Json by_sigma = ask({"--prune", "fastv", "--debias", at(json, {"sigma"}).dump()});
  EXPECT_EQ(at(by_file, {"visual_tokens", "stages"}).dump(),
            at(by_sigma, {"visual_tokens", "stages"}).dump());
  ask({"--prune", "fastv", "--debias", folder_ / "table.npy"});
  expect_refused(ask_raw({"--prune", "himap", "--debias", path}), 2, "fastv");
  expect_refused(calibrate("debias", {"--prune", "uniform", "--out", path}), 2, "--debias");
  expect_refused(calibrate("debias", {"--out", path}), 2, "--prune");
}

TEST_F(CalibrateQuestions, a_recipe_is_written_and_fitprune_saves_what_it_promises) {
  const std::string path = folder_ / "recipe.json";
  const CommandResult made = calibrate("fitprune", {"--target", "0.4", "--out", path});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Json answer = ask({"--prune", "fitprune", "--prune-config", path});
  const double share = at(answer, {"visual_tokens", "prefill_flops"}).as_double() /
                       at(answer, {"visual_tokens", "prefill_flops_unpruned"}).as_double();
  EXPECT_NEAR(share, 0.6, 0.03);
}

TEST_F(CalibrateQuestions, a_file_of_another_kind_is_refused_by_name) {
  const std::string path = folder_.write("other.json", "{\"kind\": \"exit\"}");
  const CommandResult schedule = ask_raw({"--prune", "adaptinfer", "--prune-config", path});
  expect_refused(schedule, 2, "other.json");
  EXPECT_NE(schedule.err.find("calibrate schedule"), std::string::npos) << schedule.err;
  expect_refused(ask_raw({"--prune", "fastv", "--debias", path}), 2, "other.json");
}

TEST_F(CalibrateQuestions, nothing_is_written_where_no_question_can_be_read) {
  const std::string missing = folder_.write(
      "missing.jsonl", "{\"question_id\": 1, \"image\": \"nowhere.jpg\", \"text\": \"What?\"}\n");
  const CommandResult result = run_fovea({"calibrate", "schedule", "--model", base_model(),
                                          "--questions", missing, "--out", folder_ / "x.json"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("nowhere.jpg"), std::string::npos) << result.err;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "x.json"));
}

}  // namespace
}  // namespace fovea::testing
