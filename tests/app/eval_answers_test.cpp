#include <gtest/gtest.h>

#include "app/eval/answer_file.h"
#include "kernels/base/file.h"
#include "support/temporary_folder.h"

namespace fovea::app {
namespace {

using testing::TemporaryFolder;

const AnswerSource kSource{"model", "fastv", "0123456789abcdef"};

EvalItem item(const Json& id, const std::string& text) {
  EvalItem made;
  made.id = id;
  made.text = text;
  made.line = 7;
  made.label.accepted = {"yes"};
  return made;
}

Outcome answered(const std::string& text) {
  Outcome outcome;
  outcome.state = Outcome::State::answered;
  outcome.ran = true;
  outcome.text = text;
  outcome.score = text == "Yes" ? 1 : 0;
  outcome.token_ids = {4, 5, 2};
  outcome.finish_reason = FinishReason::length;
  outcome.visual = 576;
  outcome.equivalent = 100.5;
  outcome.entering_mean = 192.25;
  outcome.first_token_ms = 12.5;
  outcome.total_ms = 20.25;
  outcome.guide_entering = 30.5;
  outcome.exited = true;
  outcome.evidence_kept = 0.75;
  outcome.evidence_kept_last = 0.5;
  return outcome;
}

std::string text_of(const std::string& path) {
  const auto text = read_file(path, 1 << 20);
  return text ? *text : "";
}

TEST(AnswerFile, a_line_is_on_disk_as_soon_as_it_is_given) {
  const TemporaryFolder folder;
  auto file = AnswerFile::open(folder / "a.jsonl", kSource, false);
  ASSERT_TRUE(file) << file.error().to_string();
  EXPECT_EQ(text_of(folder / "a.jsonl"), "");
  ASSERT_TRUE(file->append(item(3, "Is it?"), answered("Yes")));
  const auto line = parse_json(text_of(folder / "a.jsonl"));
  ASSERT_TRUE(line);
  std::vector<std::string> names;
  for (const auto& [name, value] : line->as_object()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"question_id", "prompt", "text", "answer_id",
                                             "model_id", "metadata"}));
}

TEST(AnswerFile, resuming_gives_back_everything_that_was_measured) {
  const TemporaryFolder folder;
  const Outcome before = answered("Yes");
  {
    auto file = AnswerFile::open(folder / "a.jsonl", kSource, false);
    ASSERT_TRUE(file && file->append(item("q", "Is it?"), before));
  }
  const auto file = AnswerFile::open(folder / "a.jsonl", kSource, true);
  ASSERT_TRUE(file) << file.error().to_string();
  const auto after = file->earlier(item("q", "Is it?"));
  ASSERT_TRUE(after);
  EXPECT_EQ(after->state, before.state);
  EXPECT_EQ(after->score, before.score);
  EXPECT_EQ(after->text, before.text);
  EXPECT_EQ(after->token_ids, before.token_ids);
  EXPECT_EQ(after->finish_reason, before.finish_reason);
  EXPECT_EQ(after->visual, before.visual);
  EXPECT_EQ(after->equivalent, before.equivalent);
  EXPECT_EQ(after->entering_mean, before.entering_mean);
  EXPECT_EQ(after->first_token_ms, before.first_token_ms);
  EXPECT_EQ(after->total_ms, before.total_ms);
  EXPECT_EQ(after->guide_entering, before.guide_entering);
  EXPECT_EQ(after->exited, before.exited);
  EXPECT_EQ(after->evidence_kept, before.evidence_kept);
  EXPECT_EQ(after->evidence_kept_last, before.evidence_kept_last);
  EXPECT_FALSE(after->padding_share);
  EXPECT_FALSE(file->earlier(item("q", "Is it another?"))) << "the question was another one";
  EXPECT_FALSE(file->earlier(item("p", "Is it?")));
}

TEST(AnswerFile, failures_are_asked_again) {
  const TemporaryFolder folder;
  {
    auto file = AnswerFile::open(folder / "a.jsonl", kSource, false);
    ASSERT_TRUE(file);
    ASSERT_TRUE(
        file->append(item(1, "Is it?"), failed_outcome(make_error(ErrorCode::io, "no picture"))));
  }
  auto file = AnswerFile::open(folder / "a.jsonl", kSource, true);
  ASSERT_TRUE(file);
  EXPECT_FALSE(file->earlier(item(1, "Is it?")));
  ASSERT_TRUE(file->append(item(1, "Is it?"), answered("Yes")));
  ASSERT_TRUE(file->finish({item(1, "Is it?")}));
  const std::string text = text_of(folder / "a.jsonl");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << "one line a question";
  EXPECT_NE(text.find("\"Yes\""), std::string::npos);
}

TEST(AnswerFile, a_finished_file_is_in_the_order_of_the_questions) {
  const TemporaryFolder folder;
  auto file = AnswerFile::open(folder / "a.jsonl", kSource, false);
  ASSERT_TRUE(file);
  for (const int id : {9, 2, 5}) ASSERT_TRUE(file->append(item(id, "?"), answered("Yes")));
  ASSERT_TRUE(file->finish({item(2, "?"), item(9, "?")}));
  const std::string text = text_of(folder / "a.jsonl");
  const auto place = [&](int id) { return text.find("\"question_id\":" + std::to_string(id)); };
  EXPECT_LT(place(2), place(9));
  EXPECT_LT(place(9), place(5)) << "answers to other questions are kept, behind these";
}

TEST(AnswerFile, a_line_that_was_cut_off_is_dropped_and_a_damaged_one_is_refused) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.jsonl";
  {
    auto file = AnswerFile::open(path, kSource, false);
    ASSERT_TRUE(file && file->append(item(1, "?"), answered("Yes")));
  }
  const std::string whole = text_of(path);
  folder.write("a.jsonl", whole + R"({"question_id":2,"prom)");
  {
    auto file = AnswerFile::open(path, kSource, true);
    ASSERT_TRUE(file) << file.error().to_string();
    EXPECT_TRUE(file->earlier(item(1, "?")));
    ASSERT_TRUE(file->append(item(2, "?"), answered("No")));
  }
  EXPECT_TRUE(AnswerFile::open(path, kSource, true)) << "the next line began a new one";
  for (const char* damaged : {"x\n", "[]\n", "{}\n", "{\"question_id\":1}\n"}) {
    folder.write("a.jsonl", whole + damaged);
    const auto file = AnswerFile::open(path, kSource, true);
    ASSERT_FALSE(file) << damaged;
    EXPECT_NE(file.error().message.find("line 2"), std::string::npos);
    EXPECT_EQ(text_of(path), whole + damaged) << "nothing is lost";
  }
}

TEST(AnswerFile, answers_of_another_setting_are_not_taken_up) {
  const TemporaryFolder folder;
  {
    auto file = AnswerFile::open(folder / "a.jsonl", kSource, false);
    ASSERT_TRUE(file && file->append(item(1, "?"), answered("Yes")));
  }
  AnswerSource other = kSource;
  other.fingerprint = "fedcba9876543210";
  const auto file = AnswerFile::open(folder / "a.jsonl", other, true);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, ErrorCode::usage);
}

TEST(AnswerFile, runs_beside_each_other_have_files_of_their_own) {
  EXPECT_EQ(answer_path("d/a.jsonl", "fastv:layers=1+3"), "d/a-fastv-layers=1+3.jsonl");
  EXPECT_EQ(answer_path("a", "../x y"), "a-..-x-y");
  const TemporaryFolder folder;
  EXPECT_FALSE(AnswerFile::open(folder / "none/a.jsonl", kSource, false));
}

// ---- Outcomes ----------------------------------------------------------------------------------

/// An answer about a 4 x 4 grid over a picture of this size, padded to a square.
Answer about(int width, int height) {
  Answer answer;
  const int side = std::max(width, height);
  answer.layout.pictures.push_back({width, height});
  for (int id = 0; id < 16; ++id) {
    answer.layout.kinds.push_back(TokenKind::visual);
    answer.layout.visual_ids.push_back(id);
    VisualToken token;
    token.row = id / 4;
    token.col = id % 4;
    token.width = static_cast<float>(side) / 4;
    token.height = static_cast<float>(side) / 4;
    token.x = static_cast<float>(token.col) * token.width;
    token.y = static_cast<float>(token.row) * token.height;
    answer.layout.visual.push_back(token);
  }
  answer.pruning.initial = 16;
  return answer;
}

EvalItem with_evidence(std::vector<std::int32_t> ids) {
  EvalItem made = item(1, "?");
  made.evidence = std::move(ids);
  return made;
}

TEST(Outcome, unpruned_answers_keep_all_evidence_and_pay_for_all_padding) {
  const Outcome square = outcome_of(about(40, 40), with_evidence({1, 2}), 8);
  EXPECT_EQ(square.evidence_kept, 1.0);
  EXPECT_EQ(square.evidence_kept_last, 1.0);
  EXPECT_FALSE(square.padding_share) << "a square picture has none";
  const Outcome wide = outcome_of(about(40, 20), with_evidence({5}), 8);
  EXPECT_EQ(wide.padding_share, 0.5) << "rows 0 and 3 of four";
}

TEST(Outcome, shares_are_means_over_the_layers_behind_the_first_cut) {
  Answer answer = about(40, 20);
  // Layers 2 and 3 see 0 to 7 (half of them padding), layers 4 to 7 see 4 and 5.
  answer.pruning.stages.push_back(
      {.when = Hook::before_layer, .layer = 2, .kept = {0, 1, 2, 3, 4, 5, 6, 7}});
  answer.pruning.stages.push_back({.when = Hook::after_layer, .layer = 3, .kept = {4, 5}});
  const Outcome outcome = outcome_of(answer, with_evidence({4, 6}), 8);
  EXPECT_DOUBLE_EQ(*outcome.evidence_kept, (2 * 1.0 + 4 * 0.5) / 6);
  EXPECT_DOUBLE_EQ(*outcome.evidence_kept_last, 0.5);
  EXPECT_DOUBLE_EQ(*outcome.padding_share, (2 * 4.0 + 4 * 0.0) / (2 * 8 + 4 * 2));
}

TEST(Outcome, a_cut_behind_the_last_layer_costs_no_layer_its_evidence) {
  Answer answer = about(40, 40);
  answer.pruning.stages.push_back({.when = Hook::after_layer, .layer = 7, .kept = {}});
  const Outcome outcome = outcome_of(answer, with_evidence({4}), 8);
  EXPECT_EQ(outcome.evidence_kept, 1.0);
  EXPECT_EQ(outcome.evidence_kept_last, 0.0);
}

TEST(Outcome, questions_without_evidence_have_no_share) {
  EXPECT_FALSE(outcome_of(about(40, 40), with_evidence({}), 8).evidence_kept);
  EXPECT_FALSE(outcome_of(about(40, 40), item(1, "?"), 8).evidence_kept);
}

}  // namespace
}  // namespace fovea::app
