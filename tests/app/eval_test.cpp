#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "command.h"

namespace fovea::testing {
namespace {

namespace fs = std::filesystem;

/// The first `count` lines of a text.
std::string head(const std::string& text, int count) {
  std::istringstream lines(text);
  std::string result;
  for (std::string line; count > 0 && std::getline(lines, line); --count) result += line + "\n";
  return result;
}

std::vector<Json> json_lines(const std::string& path) {
  std::vector<Json> result;
  const auto text = read_file(path, 1 << 24);
  if (!text) ADD_FAILURE() << text.error().to_string();
  std::istringstream lines(text ? *text : "");
  for (std::string line; std::getline(lines, line);) {
    const auto json = parse_json(line);
    if (!json) {
      ADD_FAILURE() << line;
      return {};
    }
    result.push_back(*json);
  }
  return result;
}

class Eval : public ::testing::Test {
 protected:
  std::vector<std::string> eval(const std::string& questions,
                                const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"eval",        "--model",          base_model(),
                                       "--questions", questions,          "--threads",
                                       "2",           "--max-new-tokens", "16"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  /// The bundled set's first questions in a folder of their own, with pictures and labels named.
  std::vector<std::string> bundled(int count, const std::vector<std::string>& more = {}) {
    const auto text = read_file(source_path("assets/eval/emoji-world.jsonl"), 1 << 24);
    if (!text) ADD_FAILURE() << text.error().to_string();
    auto arguments = eval(folder_.write("questions.jsonl", head(text ? *text : "", count)),
                          {"--image-folder", source_path("assets/eval/images"), "--labels",
                           source_path("assets/eval/emoji-world-labels.jsonl")});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  TemporaryFolder folder_;
};

TEST_F(Eval, json_follows_the_contract) {
  const CommandResult result = run_fovea(bundled(10, {"--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = json_of(result);
  const auto runs = at(json, {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 1U);
  const Json& run = runs.front();
  EXPECT_EQ(at(run, {"prune"}).as_string(), "none");
  EXPECT_GE(at(run, {"accuracy"}).as_double(), 0.8) << "the bundled model is a trained one";
  EXPECT_LE(at(run, {"accuracy"}).as_double(), 1.0);
  EXPECT_EQ(at(run, {"equivalent"}).as_double(), 576.0);
  EXPECT_EQ(at(run, {"entering_mean"}).as_double(), 576.0);
  EXPECT_GT(at(run, {"first_token_ms"}).as_double(), 0.0);
  EXPECT_GT(at(run, {"total_ms"}).as_double(), 0.0);
  EXPECT_EQ(at(run, {"exit_rate"}).as_double(), 0.0);
  EXPECT_EQ(at(run, {"questions"}).as_int(), 10);
  EXPECT_EQ(at(run, {"failed"}).as_int(), 0);
  double right = 0;
  std::int64_t counted = 0;
  for (const auto& [category, accuracy] : members(at(run, {"by_category"}))) {
    const std::int64_t questions = at(run, {"category_counts", category, "questions"}).as_int();
    right += accuracy.as_double() * static_cast<double>(questions);
    counted += questions;
  }
  EXPECT_EQ(counted, 10);
  EXPECT_NEAR(right / 10, at(run, {"accuracy"}).as_double(), 1e-9);
}

TEST_F(Eval, the_bundled_set_needs_no_other_option) {
  const CommandResult result =
      run_fovea(eval(source_path("assets/eval/emoji-world.jsonl"), {"--limit", "3"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("category"), std::string::npos);
  EXPECT_NE(result.out.find("all"), std::string::npos);
}

TEST_F(Eval, answers_come_in_the_order_of_the_questions) {
  // Pictures alternate, so that grouping by picture must be undone.
  const std::string a = R"("image": "emoji-world-000.jpg")",
                    b = R"("image": "emoji-world-001.jpg")";
  const std::string questions = folder_.write(
      "q.jsonl", R"({"question_id": 5, )" + a + R"(, "text": "What can you see at the bottom?"})" +
                     "\n" + R"({"question_id": "5", )" + b + R"(, "text": "How many things?"})" +
                     "\n" + R"({"question_id": 3, )" + a +
                     R"(, "text": "What is in the middle?"})" + "\n");
  const std::string labels = folder_.write("q-labels.jsonl",
                                           "{\"question_id\": 3, \"answer\": \"x\"}\n"
                                           "{\"question_id\": 5, \"answer\": \"x\"}\n"
                                           "{\"question_id\": \"5\", \"answer\": \"x\"}\n");
  const CommandResult result =
      run_fovea(eval(questions, {"--image-folder", source_path("assets/eval/images"), "--answers",
                                 folder_ / "answers.jsonl"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto lines = json_lines(folder_ / "answers.jsonl");
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(at(lines[0], {"question_id"}).dump(), "5");
  EXPECT_EQ(at(lines[1], {"question_id"}).dump(), "\"5\"");
  EXPECT_EQ(at(lines[2], {"question_id"}).dump(), "3");
  std::set<std::string> answer_ids;
  for (const Json& line : lines) {
    std::vector<std::string> names;
    for (const auto& [name, value] : line.as_object()) names.push_back(name);
    EXPECT_EQ(names, (std::vector<std::string>{"question_id", "prompt", "text", "answer_id",
                                               "model_id", "metadata"}));
    EXPECT_EQ(at(line, {"model_id"}).as_string(), "fovea-base");
    EXPECT_FALSE(at(line, {"metadata", "token_ids"}).as_array().empty());
    answer_ids.insert(at(line, {"answer_id"}).as_string());
  }
  EXPECT_EQ(answer_ids.size(), 3U);
  EXPECT_EQ(at(lines[1], {"prompt"}).as_string(), "How many things?");
}

TEST_F(Eval, grouping_by_picture_changes_no_answer) {
  ASSERT_EQ(run_fovea(bundled(6, {"--answers", folder_ / "all.jsonl"})).exit_code, 0);
  const auto all = json_lines(folder_ / "all.jsonl");
  ASSERT_EQ(all.size(), 6U);
  const Json last = all.back();
  const auto questions = json_lines(folder_ / "questions.jsonl");
  const CommandResult alone =
      run_fovea({"ask", "--model", base_model(), "--image",
                 source_path("assets/eval/images/") + at(questions.back(), {"image"}).as_string(),
                 "--question", at(last, {"prompt"}).as_string(), "--json", "--threads", "2",
                 "--max-new-tokens", "16"});
  EXPECT_EQ(at(json_of(alone), {"token_ids"}).dump(), at(last, {"metadata", "token_ids"}).dump());
}

TEST_F(Eval, bad_items_are_counted_named_and_do_not_stop_the_others) {
  const std::string questions = folder_.write(
      "q.jsonl",
      R"({"question_id": 1, "image": "emoji-world-000.jpg", "text": "What can you see at the bottom?"})"
      "\nnot json\n"
      R"({"question_id": 2, "image": "missing.jpg", "text": "What?"})"
      "\n"
      R"({"question_id": 3, "image": "../../secret.jpg", "text": "What?"})"
      "\n"
      R"({"question_id": 4, "image": "emoji-world-000.jpg", "text": "no label"})"
      "\n"
      R"({"question_id": 5, "image": "emoji-world-000.jpg", "text": "  "})"
      "\n");
  std::string labels;
  for (const int id : {1, 2, 3, 5}) {
    labels += R"({"question_id": )" + std::to_string(id) + R"(, "answer": "A blue circle"})" + "\n";
  }
  const CommandResult result = run_fovea(eval(
      questions, {"--labels", folder_.write("l.jsonl", labels), "--image-folder",
                  source_path("assets/eval/images"), "--answers", folder_ / "a.jsonl", "--json"}));
  EXPECT_EQ(result.exit_code, 1);
  const Json run = at(json_of(result), {"runs"}).as_array().front();
  EXPECT_EQ(at(run, {"questions"}).as_int(), 6);
  EXPECT_EQ(at(run, {"failed"}).as_int(), 5);
  for (const char* named : {"line 2", "missing.jpg", "line 4", "line 5", "5 of 6"}) {
    EXPECT_NE(result.err.find(named), std::string::npos) << named << " in " << result.err;
  }
  const auto lines = json_lines(folder_ / "a.jsonl");
  ASSERT_EQ(lines.size(), 6U) << "a line for every question, the failed ones included";
  EXPECT_FALSE(at(lines[0], {"text"}).as_string().empty());
  EXPECT_EQ(at(lines[2], {"text"}).as_string(), "");
  EXPECT_NE(at(lines[2], {"metadata", "error"}).as_string().find("missing.jpg"), std::string::npos);
}

TEST_F(Eval, files_that_are_not_what_they_should_be_are_refused) {
  expect_refused(run_fovea(eval(folder_ / "none.jsonl")), 2, "none.jsonl");
  expect_refused(run_fovea(eval(folder_.write("empty.jsonl", ""))), 2, "no questions");
  const std::string questions =
      folder_.write("q.jsonl", R"({"question_id": 1, "image": "a.jpg", "text": "What?"})"
                               "\n");
  expect_refused(run_fovea(eval(questions)), 2, "--labels");
  folder_.write("labels.jsonl", "{}");
  expect_refused(run_fovea(eval(questions)), 2, "line 1");
}

}  // namespace
}  // namespace fovea::testing
