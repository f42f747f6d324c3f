#include <gtest/gtest.h>

#include <map>
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
    return bundled(head(bundled_text(), count), more);
  }
  std::string bundled_text() const {
    const auto text = read_file(source_path("assets/eval/questions.jsonl"), 1 << 24);
    if (!text) ADD_FAILURE() << text.error().to_string();
    return text ? *text : "";
  }
  std::vector<std::string> bundled(const std::string& questions,
                                   const std::vector<std::string>& more) {
    auto arguments = eval(folder_.write("questions.jsonl", questions),
                          {"--image-folder", source_path("assets/eval/images"), "--labels",
                           source_path("assets/eval/questions-labels.jsonl")});
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
      run_fovea(eval(source_path("assets/eval/questions.jsonl"), {"--limit", "3"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("accuracy"), std::string::npos);
  EXPECT_NE(result.out.find("questions about"), std::string::npos);
}

TEST_F(Eval, answers_come_in_the_order_of_the_questions) {
  // Pictures alternate, so that grouping by picture must be undone.
  const std::string a = R"("image": "picture-0000.jpg")",
                    b = R"("image": "picture-0001.jpg")";
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

TEST_F(Eval, questions_side_by_side_get_the_answers_of_one_by_one) {
  // Pictures, clips and plain text, an item that cannot be asked, and a control between settings.
  std::string questions = head(bundled_text(), 9);
  questions += R"({"question_id": 90, "image": "gone.jpg", "text": "What is this?"})" "\n";
  std::istringstream all(bundled_text());
  int others = 0;
  for (std::string line; others < 4 && std::getline(all, line);) {
    const bool one_picture = line.find("\"image\": \"") != std::string::npos;
    if (!one_picture && ++others > 0) questions += line + "\n";
  }
  const std::vector<std::string> settings{"--prune", "none", "--prune",
                                          "adaptinfer:layers=1+3:keep=200+50", "--control",
                                          "shuffled"};
  const auto run = [&](const std::string& name, std::vector<std::string> more) {
    more.insert(more.end(), settings.begin(), settings.end());
    more.insert(more.end(), {"--answers", folder_ / name, "--json"});
    return run_fovea(bundled(questions, more));
  };
  const CommandResult alone = run("alone.jsonl", {});
  const CommandResult beside = run("beside.jsonl", {"--batch", "4"});
  EXPECT_EQ(alone.exit_code, beside.exit_code) << beside.err;
  const auto runs = at(json_of(alone), {"runs"}).as_array();
  const auto batched = at(json_of(beside), {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 2U);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (const char* same : {"accuracy", "equivalent", "entering_mean", "questions", "failed"}) {
      EXPECT_EQ(at(runs[i], {same}).dump(), at(batched[i], {same}).dump()) << same;
    }
  }
  for (const char* setting : {"none", "adaptinfer"}) {
    const auto file = [&](const std::string& name) {
      for (const auto& entry : fs::directory_iterator(folder_ / "")) {
        const std::string found = entry.path().filename().string();
        if (found.rfind(name + "-" + setting, 0) == 0) return entry.path();
      }
      return fs::path();
    };
    const auto expected = json_lines(file("alone").string());
    const auto found = json_lines(file("beside").string());
    ASSERT_EQ(expected.size(), found.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(at(expected[i], {"text"}).dump(), at(found[i], {"text"}).dump());
    }
  }
}

TEST_F(Eval, what_is_asked_one_by_one_is_refused_side_by_side) {
  expect_refused(run_fovea(bundled(2, {"--batch", "4", "--prune", "fastv", "--dump-scores",
                                       folder_ / "scores"})),
                 2, "--dump-scores");
  expect_refused(run_fovea(bundled(2, {"--batch", "4", "--guide", guide_model()})), 2, "--guide");
  expect_refused(run_fovea(bundled(2, {"--batch", "0"})), 2, "--batch");
}

TEST_F(Eval, bad_items_are_counted_named_and_do_not_stop_the_others) {
  const std::string questions = folder_.write(
      "q.jsonl",
      R"({"question_id": 1, "image": "picture-0000.jpg", "text": "What can you see at the bottom?"})"
      "\nnot json\n"
      R"({"question_id": 2, "image": "missing.jpg", "text": "What?"})"
      "\n"
      R"({"question_id": 3, "image": "../../secret.jpg", "text": "What?"})"
      "\n"
      R"({"question_id": 4, "image": "picture-0000.jpg", "text": "no label"})"
      "\n"
      R"({"question_id": 5, "image": "picture-0000.jpg", "text": "  "})"
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

TEST_F(Eval, settings_and_controls_stand_side_by_side) {
  // Four questions about one picture and two about another.
  std::string questions;
  std::map<std::string, int> about;
  std::istringstream all(bundled_text());
  for (std::string line; std::getline(all, line);) {
    const auto json = parse_json(line);
    const Json* image = json ? json->find("image") : nullptr;
    if (image == nullptr || !image->is_string()) continue;
    if (about.size() == 2 && !about.contains(image->as_string())) break;
    if (++about[image->as_string()] <= (about.size() == 1 ? 4 : 2)) questions += line + "\n";
  }
  const CommandResult result = run_fovea(
      bundled(questions, {"--prune",        "none",          "--prune",         "random:seed=1+2",
                          "--prune-budget", "192",           "--control",       "majority",
                          "--control",      "no-visual",     "--control",       "evidence-only",
                          "--control",      "drop-evidence", "--control",       "shuffled",
                          "--json",         "--csv",         folder_ / "t.csv", "--plot",
                          folder_ / "p.png"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = json_of(result);
  const auto runs = at(json, {"runs"}).as_array(), controls = at(json, {"controls"}).as_array();
  ASSERT_EQ(runs.size(), 3U);
  ASSERT_EQ(controls.size(), 5U);
  EXPECT_EQ(at(runs[0], {"prune"}).as_string(), "none");
  EXPECT_EQ(at(runs[1], {"prune"}).as_string(), "random:seed=1");
  EXPECT_EQ(at(runs[2], {"prune"}).as_string(), "random:seed=2");
  EXPECT_EQ(at(runs[0], {"entering_mean"}).as_double(), 576);
  EXPECT_EQ(at(runs[0], {"evidence_kept"}).as_double(), 1);
  EXPECT_EQ(at(runs[1], {"entering_mean"}).as_double(), 192);
  EXPECT_LT(at(runs[1], {"evidence_kept"}).as_double(), 1);
  std::int64_t with_evidence = 0;
  for (const Json& line : json_lines(folder_ / "questions.jsonl")) {
    with_evidence += at(line, {"evidence"}).as_array().empty() ? 0 : 1;
  }
  for (const Json& run : runs) {
    const auto interval = at(run, {"interval"}).as_array();
    ASSERT_EQ(interval.size(), 2U);
    EXPECT_LE(interval[0].as_double(), at(run, {"accuracy"}).as_double());
    EXPECT_GE(interval[1].as_double(), at(run, {"accuracy"}).as_double());
    EXPECT_EQ(at(run, {"with_evidence", "questions"}).as_int(), with_evidence);
    EXPECT_FALSE(members(at(run, {"by_evidence_size"})).empty());
    EXPECT_EQ(members(at(run, {"by_evidence_row"})).size(), 3U);
  }
  EXPECT_EQ(at(controls[0], {"control"}).as_string(), "majority");
  EXPECT_TRUE(at(controls[0], {"first_token_ms"}).is_null()) << "no model was asked";
  EXPECT_EQ(at(controls[1], {"entering_mean"}).as_double(), 0);
  EXPECT_EQ(at(controls[2], {"evidence_kept"}).as_double(), 1);
  EXPECT_EQ(at(controls[3], {"evidence_kept"}).as_double(), 0);
  EXPECT_NEAR(at(controls[2], {"entering_mean"}).as_double() +
                  at(controls[3], {"entering_mean"}).as_double(),
              576, 1e-9);
  EXPECT_EQ(at(controls[4], {"entering_mean"}).as_double(), 576);

  const auto csv = read_file(folder_ / "t.csv", 1 << 20);
  ASSERT_TRUE(csv);
  EXPECT_EQ(std::count(csv->begin(), csv->end(), '\n'), 9);
  EXPECT_EQ(csv->rfind("setting,kind,questions", 0), 0U);
  const auto plot = read_file(folder_ / "p.png", 1 << 24);
  ASSERT_TRUE(plot);
  EXPECT_EQ(plot->rfind("\x89PNG", 0), 0U);
}

TEST_F(Eval, a_guide_is_charged_beside_what_enters_the_large_model) {
  const CommandResult result = run_fovea(
      bundled(2, {"--prune", "none", "--prune", "sgl", "--guide", guide_model(), "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto runs = at(json_of(result), {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_TRUE(at(runs[0], {"guide_entering"}).is_null());
  EXPECT_GT(at(runs[1], {"guide_entering"}).as_double(), 0.0);
  EXPECT_LT(at(runs[1], {"entering_mean"}).as_double(), 576.0);
  EXPECT_EQ(at(runs[1], {"exit_rate"}).as_double(), 0.0) << "nothing exits without a threshold";
}

TEST_F(Eval, a_control_may_cut_before_a_later_layer) {
  const Json json = json_of(run_fovea(bundled(2, {"--control", "no-visual:layers=6", "--json"})));
  EXPECT_EQ(at(at(json, {"controls"}).as_array().at(0), {"entering_mean"}).as_double(), 288);
}

TEST_F(Eval, an_interrupted_run_goes_on_where_it_stopped) {
  // What an interruption leaves behind: whole lines in any order, and half a line.
  const std::string path = folder_ / "a.jsonl";
  ASSERT_EQ(run_fovea(bundled(4, {"--answers", path})).exit_code, 0);
  const auto whole = read_file(path, 1 << 20);
  ASSERT_TRUE(whole);
  std::vector<Json> lines = json_lines(path);
  ASSERT_EQ(lines.size(), 4U);
  // A text that no model gave shows whether the line was taken over or asked again.
  Json marked = lines[2];
  marked.set("text", "taken over");
  folder_.write("a.jsonl", marked.dump() + "\n" + lines[0].dump() + "\n" + "{\"question_id\":1,");
  const CommandResult result = run_fovea(bundled(4, {"--answers", path, "--resume", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::vector<Json> after = json_lines(path);
  ASSERT_EQ(after.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(at(after[i], {"question_id"}).dump(), at(lines[i], {"question_id"}).dump());
    EXPECT_EQ(at(after[i], {"text"}).as_string(),
              i == 2 ? "taken over" : at(lines[i], {"text"}).as_string());
  }
  EXPECT_EQ(at(at(json_of(result), {"runs"}).as_array().at(0), {"questions"}).as_int(), 4);
  expect_refused(run_fovea(bundled(4, {"--answers", path, "--resume", "--prune", "fastv"})), 2,
                 "another model, setting or generation");
}

TEST_F(Eval, several_settings_write_a_file_each) {
  const CommandResult result =
      run_fovea(bundled(2, {"--prune", "none", "--prune", "fastv:keep=9", "--control", "no-visual",
                            "--control", "majority", "--answers", folder_ / "a.jsonl"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  for (const char* name : {"a-none.jsonl", "a-fastv-keep=9.jsonl", "a-no-visual.jsonl"}) {
    EXPECT_EQ(json_lines(folder_ / name).size(), 2U) << name;
  }
  EXPECT_FALSE(fs::exists(folder_ / "a.jsonl"));
}

TEST_F(Eval, chunks_divide_the_questions) {
  std::vector<std::string> ids;
  for (const char* chunk : {"0", "1", "2"}) {
    const std::string path = folder_ / (std::string("c") + chunk + ".jsonl");
    ASSERT_EQ(run_fovea(bundled(5, {"--num-chunks", "3", "--chunk-idx", chunk, "--answers", path}))
                  .exit_code,
              0);
    for (const Json& line : json_lines(path)) ids.push_back(at(line, {"question_id"}).dump());
  }
  std::vector<std::string> all;
  for (const Json& line : json_lines(folder_ / "questions.jsonl")) {
    all.push_back(at(line, {"question_id"}).dump());
  }
  EXPECT_EQ(ids, all);
}

TEST_F(Eval, questions_may_show_several_pictures_or_none) {
  const std::string questions = folder_.write(
      "q.jsonl",
      R"({"question_id": 1, "image": ["picture-0000.jpg", "picture-0001.jpg"], )"
      R"("text": "What is in the middle?", "evidence": [600, 601]})"
      "\n"
      R"({"question_id": 2, "text": "What colour is grass?"})"
      "\n"
      R"({"question_id": 3, "image": "picture-0000.jpg", "text": "x", "evidence": [576]})"
      "\n");
  std::string labels;
  for (const int id : {1, 2, 3}) {
    labels += R"({"question_id": )" + std::to_string(id) + R"(, "answer": "x"})" + "\n";
  }
  const CommandResult result = run_fovea(eval(
      questions, {"--labels", folder_.write("l.jsonl", labels), "--image-folder",
                  source_path("assets/eval/images"), "--prune", "uniform:keep=100", "--json"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("token 576"), std::string::npos) << result.err;
  const Json run = at(json_of(result), {"runs"}).as_array().front();
  EXPECT_EQ(at(run, {"failed"}).as_int(), 1);
  EXPECT_EQ(at(run, {"entering_mean"}).as_double(), 100) << "the text question has no tokens";
}

TEST_F(Eval, bad_values_are_refused_by_name) {
  const std::string questions = source_path("assets/eval/questions.jsonl");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"--prune", "magic"}, "There are: none"},
      {{"--prune", "fastv", "--prune", "fastv"}, "given twice"},
      {{"--prune", "fastv", "--prune-budget", "288,x"}, "--prune-budget"},
      {{"--prune", "fastv:budget=3"}, "out of reach"},
      {{"--prune", "adaptinfer:layers=40:keep=9"}, "layers 0 to 11"},
      {{"--control", "magic"}, "majority, shuffled"},
      {{"--control", "majority", "--control", "majority"}, "given twice"},
      {{"--control", "no-visual:layers=12"}, "layers 0 to 11"},
      {{"--num-chunks", "0"}, "--num-chunks"},
      {{"--num-chunks", "2", "--chunk-idx", "2"}, "counted from 0"},
      {{"--resamples", "0"}, "--resamples"},
      {{"--resume"}, "--answers"},
      {{"--csv", ""}, "--csv"},
      {{"--plot", ""}, "--plot"},
      {{"--answers", ""}, "--answers"}};
  for (const auto& [more, says] : cases) {
    std::vector<std::string> line = eval(questions, {"--limit", "2"});
    line.insert(line.end(), more.begin(), more.end());
    expect_refused(run_fovea(line), 2, says);
  }
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
