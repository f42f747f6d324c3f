// A guide over many questions: what eval writes about it, and the threshold that calibrate exit
// finds.

#include <gtest/gtest.h>

#include <sstream>

#include "command.h"

namespace fovea::testing {
namespace {

class GuideEval : public ::testing::Test {
 protected:
  /// The bundled set's first questions, in a folder of their own.
  std::string questions(int count) {
    const auto text = read_file(source_path("assets/eval/questions.jsonl"), 1 << 24);
    EXPECT_TRUE(text);
    std::istringstream lines(text ? *text : "");
    std::string head;
    for (std::string line; count > 0 && std::getline(lines, line); --count) head += line + "\n";
    return folder_.write("questions.jsonl", head);
  }
  CommandResult eval(int count, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"eval",
                                       "--model",
                                       base_model(),
                                       "--questions",
                                       questions(count),
                                       "--image-folder",
                                       source_path("assets/eval/images"),
                                       "--labels",
                                       source_path("assets/eval/questions-labels.jsonl"),
                                       "--guide",
                                       guide_model(),
                                       "--threads",
                                       "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_fovea(arguments);
  }
  CommandResult calibrate(int count, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"calibrate",      "exit",
                                       "--guide",        guide_model(),
                                       "--questions",    questions(count),
                                       "--image-folder", source_path("assets/eval/images"),
                                       "--threads",      "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_fovea(arguments);
  }
  /// By the order of the questions.
  std::vector<Json> lines(const std::string& name) const {
    const auto text = read_file(folder_ / name, 1 << 24);
    EXPECT_TRUE(text) << name;
    std::istringstream in(text ? *text : "");
    std::vector<Json> all;
    for (std::string line; std::getline(in, line);) {
      const auto json = parse_json(line);
      EXPECT_TRUE(json) << line;
      if (json) all.push_back(*json);
    }
    return all;
  }
  Json only_run(const CommandResult& result) const {
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto runs = at(json_of(result), {"runs"}).as_array();
    EXPECT_EQ(runs.size(), 1U);
    return runs.empty() ? Json() : runs.front();
  }

  TemporaryFolder folder_;
};

TEST_F(GuideEval, both_answers_tell_what_every_threshold_would_give) {
  const CommandResult both =
      eval(12, {"--guide-both", "--answers", folder_ / "both.jsonl", "--json"});
  ASSERT_EQ(both.exit_code, 0) << both.err;
  const auto told = lines("both.jsonl");
  ASSERT_EQ(told.size(), 12U);
  std::vector<double> scores;
  for (const Json& line : told) {
    const Json guide = at(line, {"metadata", "guide"});
    scores.push_back(at(guide, {"score"}).as_double());
    EXPECT_NEAR(
        scores.back(),
        (at(guide, {"confidence"}).as_double() + at(guide, {"consistency"}).as_double()) / 2,
        1e-12);
    EXPECT_FALSE(at(line, {"metadata", "exited"}).as_bool());
    EXPECT_EQ(at(line, {"text"}).as_string(), at(guide, {"model_text"}).as_string());
    EXPECT_EQ(at(line, {"metadata", "right"}).as_bool(), at(guide, {"model_right"}).as_bool());
    EXPECT_GT(at(guide, {"total_ms"}).as_double(), 0.0);
    EXPECT_GT(at(guide, {"model_total_ms"}).as_double(), 0.0);
  }
  std::sort(scores.begin(), scores.end());
  const double threshold = (scores[5] + scores[6]) / 2;
  std::ostringstream text;
  text.precision(17);
  text << threshold;
  const Json run = only_run(
      eval(12, {"--exit-threshold", text.str(), "--answers", folder_ / "some.jsonl", "--json"}));
  double exits = 0;
  const auto some = lines("some.jsonl");
  ASSERT_EQ(some.size(), told.size());
  for (std::size_t i = 0; i < told.size(); ++i) {
    const Json guide = at(told[i], {"metadata", "guide"});
    const bool exit = at(guide, {"score"}).as_double() > threshold;
    exits += exit ? 1 : 0;
    EXPECT_EQ(at(some[i], {"metadata", "exited"}).as_bool(), exit);
    EXPECT_EQ(at(some[i], {"text"}).as_string(),
              at(guide, {exit ? "text" : "model_text"}).as_string());
  }
  EXPECT_NEAR(at(run, {"exit_rate"}).as_double(), exits / 12, 1e-9);
}

TEST_F(GuideEval, exit_rules_stand_side_by_side) {
  const CommandResult result = eval(
      4, {"--prune", "sgl:exit-threshold=0", "--prune", "sgl:exit-threshold=0:exit-by=confidence",
          "--prune", "sgl:exit-threshold=1.01:exit-by=random", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto runs = at(json_of(result), {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(at(runs[0], {"exit_rate"}).as_double(), 1.0);
  EXPECT_EQ(at(runs[0], {"entering_mean"}).as_double(), 0.0);
  EXPECT_EQ(at(runs[1], {"exit_rate"}).as_double(), 1.0);
  EXPECT_EQ(at(runs[2], {"exit_rate"}).as_double(), 0.0);
}

TEST_F(GuideEval, a_resumed_run_keeps_what_it_knew_of_the_guide) {
  const std::vector<std::string> line{"--answers", folder_ / "a.jsonl", "--exit-threshold", "0"};
  ASSERT_EQ(eval(2, line).exit_code, 0);
  const auto before = lines("a.jsonl");
  std::vector<std::string> again = line;
  again.emplace_back("--resume");
  ASSERT_EQ(eval(3, again).exit_code, 0);
  const auto after = lines("a.jsonl");
  ASSERT_EQ(after.size(), 3U);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(at(after[i], {"metadata", "guide"}).dump(),
              at(before[i], {"metadata", "guide"}).dump());
  }
}

TEST_F(GuideEval, both_answers_need_a_guide_and_a_file) {
  EXPECT_EQ(eval(1, {"--guide-both"}).exit_code, 2);
  const CommandResult unguided =
      run_fovea({"eval", "--model", base_model(), "--questions", questions(1), "--guide-both",
                 "--answers", folder_ / "a.jsonl"});
  EXPECT_EQ(unguided.exit_code, 2);
  EXPECT_NE(unguided.err.find("--guide"), std::string::npos) << unguided.err;
}

TEST_F(GuideEval, a_calibrated_threshold_gives_the_share_it_was_made_for) {
  const CommandResult result =
      calibrate(10, {"--share", "0.4", "--out", folder_ / "exit.json", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json found = json_of(result);
  EXPECT_EQ(at(found, {"kind"}).as_string(), "exit");
  EXPECT_EQ(at(found, {"exit_by"}).as_string(), "score");
  EXPECT_EQ(at(found, {"questions"}).as_int(), 10);
  EXPECT_EQ(at(found, {"guide", "id"}).as_string(), "fovea-guide");
  EXPECT_NEAR(at(found, {"share"}).as_double(), 0.4, 0.1 + 1e-12) << "scores may be equal";
  const auto written = read_file(folder_ / "exit.json", 1 << 20);
  ASSERT_TRUE(written);
  const auto file = parse_json(*written);
  ASSERT_TRUE(file);
  EXPECT_EQ(at(*file, {"threshold"}).dump(), at(found, {"threshold"}).dump());
  const Json run = only_run(eval(10, {"--prune-config", folder_ / "exit.json", "--json"}));
  EXPECT_NEAR(at(run, {"exit_rate"}).as_double(), at(found, {"share"}).as_double(), 1e-9);
}

TEST_F(GuideEval, a_threshold_of_another_guide_is_refused) {
  const CommandResult result = run_fovea(
      {"calibrate", "exit", "--guide", base_model(), "--questions", questions(2), "--image-folder",
       source_path("assets/eval/images"), "--share", "0.5", "--out", folder_ / "exit.json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const CommandResult refused = eval(1, {"--prune-config", folder_ / "exit.json"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("another guide"), std::string::npos) << refused.err;
}

TEST_F(GuideEval, calibrating_refuses_what_makes_no_sense_and_writes_nothing) {
  EXPECT_EQ(calibrate(1, {"--share", "1.5", "--out", folder_ / "x.json"}).exit_code, 2);
  EXPECT_EQ(calibrate(1, {"--share", "0.5"}).exit_code, 2);
  EXPECT_EQ(calibrate(1, {"--share", "0.5", "--exit-by", "random", "--out", folder_ / "x.json"})
                .exit_code,
            2);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "x.json"));
}

TEST_F(GuideEval, calibrating_names_the_questions_it_could_not_ask) {
  const std::string missing = folder_.write(
      "missing.jsonl",
      "{\"question_id\": 1, \"image\": \"picture-0000.jpg\", \"text\": \"How many things?\"}\n"
      "{\"question_id\": 2, \"image\": \"nowhere.jpg\", \"text\": \"How many things?\"}\n");
  const CommandResult result = run_fovea(
      {"calibrate", "exit", "--guide", guide_model(), "--questions", missing, "--image-folder",
       source_path("assets/eval/images"), "--share", "1", "--out", folder_ / "exit.json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("nowhere.jpg"), std::string::npos) << result.err;
  EXPECT_TRUE(std::filesystem::exists(folder_ / "exit.json"));
}

}  // namespace
}  // namespace fovea::testing
