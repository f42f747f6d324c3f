// Questions answered side by side get the answers that each gets by itself.

#include "vlm/batch_session.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/base/file.h"
#include "kernels/base/json.h"
#include "pruning/method.h"
#include "support/model_device.h"

namespace fovea {
namespace {

const std::string kSource = FOVEA_SOURCE_DIR;

std::shared_ptr<const LlavaModel> load(const std::string& folder) {
  auto model = LlavaModel::load(
      kSource + folder,
      {.threads = 2, .device = testing::model_device(), .dtype = DTypeChoice::f32});
  EXPECT_TRUE(model) << model.error().to_string();
  return model ? *model : nullptr;
}
std::shared_ptr<const LlavaModel> bundled() {
  static const auto model = load("/assets/models/fovea-base");
  return model;
}
std::shared_ptr<const LlavaModel> small() {
  static const auto model = load("/tests/golden/llava/gqa-saved-f32");
  return model;
}

/// Every `step`-th of the questions whose answers transformers gave: about pictures, clips and
/// nothing.
std::vector<Question> held_out_questions(std::size_t step) {
  const auto text = read_file(kSource + "/tests/golden/fovea-base/answers.jsonl", 1 << 20);
  EXPECT_TRUE(text);
  std::map<std::string, std::shared_ptr<const Image>> images;
  std::vector<Question> questions;
  std::size_t number = 0;
  for (std::size_t begin = 0; text && begin < text->size();) {
    const std::size_t end = text->find('\n', begin);
    const auto line = parse_json(std::string_view(*text).substr(begin, end - begin));
    begin = end + 1;
    EXPECT_TRUE(line);
    if (number++ % step != 0) continue;
    Question& question = questions.emplace_back();
    question.text = line->find("text")->as_string();
    question.sampling.max_new_tokens = 24;
    std::vector<std::string> files;
    if (const Json* image = line->find("image")) {
      if (image->is_string()) files.push_back(image->as_string());
      if (!image->is_string()) {
        for (const Json& frame : image->as_array()) files.push_back(frame.as_string());
      }
    }
    for (const std::string& file : files) {
      if (!images.contains(file)) {
        auto loaded = load_image(kSource + "/assets/eval/images/" + file);
        EXPECT_TRUE(loaded);
        images[file] = std::make_shared<const Image>(std::move(*loaded));
      }
      question.images.push_back(images[file]);
    }
  }
  return questions;
}

PolicyMaker maker(const std::string& name, std::vector<int> layers,
                  std::vector<std::int64_t> keep) {
  MethodRequest request{.name = name, .schedule = {.layers = std::move(layers)}};
  for (const std::int64_t count : keep) {
    request.schedule.keep.push_back({static_cast<double>(count), false});
  }
  return [request] { return make_policy(request); };
}

struct Setting {
  const char* name;
  PolicyMaker policy;
};
void PrintTo(const Setting& setting, std::ostream* out) {
  *out << setting.name;
}

class BatchOfQuestions : public ::testing::TestWithParam<Setting> {};

TEST_P(BatchOfQuestions, answers_as_each_is_answered_alone) {
  const std::vector<Question> questions = held_out_questions(8);
  SessionOptions alone{.threads = 2};
  BatchOptions beside{.threads = 2};
  if (GetParam().policy) {
    auto policy = GetParam().policy();
    ASSERT_TRUE(policy) << policy.error().to_string();
    alone.policy = *policy;
    beside.policy = GetParam().policy;
  }
  beside.most = 5;  // answers end at different times, and others take their places
  auto session = Session::create(bundled(), alone);
  auto batch = BatchSession::create(bundled(), beside);
  ASSERT_TRUE(session && batch);
  std::vector<std::size_t> told;
  const auto answers = (*batch)->answer(questions, [&](std::size_t index, const auto& answer) {
    told.push_back(index);
    EXPECT_TRUE(answer);
  });
  ASSERT_EQ(answers.size(), questions.size());
  std::sort(told.begin(), told.end());
  for (std::size_t i = 0; i < questions.size(); ++i) {
    SCOPED_TRACE(questions[i].text);
    EXPECT_EQ(told[i], i);
    const auto expected = (*session)->ask(questions[i]);
    ASSERT_TRUE(expected && answers[i]);
    EXPECT_EQ(answers[i]->token_ids, expected->token_ids);
    EXPECT_EQ(answers[i]->text, expected->text);
    EXPECT_EQ(answers[i]->finish_reason, expected->finish_reason);
    EXPECT_EQ(answers[i]->prompt_token_ids, expected->prompt_token_ids);
    EXPECT_EQ(answers[i]->budget.equivalent, expected->budget.equivalent);
    EXPECT_EQ(answers[i]->budget.kv_bytes, expected->budget.kv_bytes);
    ASSERT_EQ(answers[i]->pruning.stages.size(), expected->pruning.stages.size());
    for (std::size_t s = 0; s < expected->pruning.stages.size(); ++s) {
      EXPECT_EQ(answers[i]->pruning.stages[s].kept, expected->pruning.stages[s].kept);
      EXPECT_EQ(answers[i]->pruning.stages[s].sources, expected->pruning.stages[s].sources);
    }
    EXPECT_GT(answers[i]->timings.first_token, 0);
    EXPECT_GE(answers[i]->timings.total, answers[i]->timings.first_token);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Settings, BatchOfQuestions,
    ::testing::Values(Setting{"none", {}},
                      Setting{"adaptinfer", maker("adaptinfer", {1, 3}, {200, 50})},
                      Setting{"fastv", maker("fastv", {2}, {144})},
                      Setting{"random", maker("random", {0}, {192})},
                      Setting{"sparsevlm", maker("sparsevlm", {1, 3}, {200, 60})},
                      Setting{"visionzip", [] { return make_policy({.name = "visionzip"}); }},
                      Setting{"zipvl", [] { return make_policy({.name = "zipvl"}); }}),
    [](const auto& tested) { return std::string(tested.param.name); });

/// Two of three are drawn, each in its own way.
void draw_some(std::vector<Question>& questions) {
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (i % 3 == 1) continue;
    questions[i].sampling.temperature = 0.8 + 0.8 * static_cast<double>(i % 5);
    questions[i].sampling.top_p = i % 2 == 0 ? 1.0 : 0.9;
    questions[i].sampling.seed = i;
  }
}

TEST(BatchSession, a_drawn_question_in_a_batch_is_the_one_asked_alone) {
  std::vector<Question> questions = held_out_questions(8);
  BatchOptions options{.threads = 2};
  options.most = 5;
  auto session = Session::create(bundled(), {.threads = 2});
  auto batch = BatchSession::create(bundled(), options);
  ASSERT_TRUE(session && batch);
  const auto greedy = (*batch)->answer(questions);
  draw_some(questions);
  const auto answers = (*batch)->answer(questions);
  std::size_t others = 0;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    SCOPED_TRACE(questions[i].text);
    const auto expected = (*session)->ask(questions[i]);
    ASSERT_TRUE(expected && answers[i] && greedy[i]);
    EXPECT_EQ(answers[i]->token_ids, expected->token_ids);
    EXPECT_EQ(answers[i]->finish_reason, expected->finish_reason);
    others += answers[i]->token_ids != greedy[i]->token_ids ? 1 : 0;
  }
  EXPECT_GE(others, questions.size() / 4) << "draws that decide nothing show nothing";
}

std::shared_ptr<const Image> picture(std::uint8_t tone) {
  Image image = Image::filled(90, 70, tone, 120, 40);
  for (int i = 0; i < 70; ++i) image.pixel(i, i)[2] = static_cast<std::uint8_t>(3 * i);
  return std::make_shared<const Image>(std::move(image));
}

std::unique_ptr<BatchSession> small_batch(std::size_t most, double memory_bytes = 0) {
  BatchOptions options{.threads = 2, .chat_template = "llava-1.5"};
  options.most = most;
  options.memory_bytes = memory_bytes;
  auto created = BatchSession::create(small(), options);
  EXPECT_TRUE(created) << created.error().to_string();
  return std::move(*created);
}

Question question(const std::string& text, std::shared_ptr<const Image> image, int tokens = 6) {
  Question q;
  q.text = text;
  if (image != nullptr) q.images.push_back(std::move(image));
  q.sampling.max_new_tokens = tokens;
  return q;
}

TEST(BatchSession, what_is_wrong_with_one_question_is_its_own_error) {
  std::vector<Question> questions{
      question("what is this", picture(10)),     question("  ", picture(10)),
      question("where is it", picture(50)),      question("what", std::make_shared<const Image>()),
      question(std::string(4000, 'a'), nullptr), question("and then", nullptr),
      question("show it", picture(10)),          question("drawn", nullptr)};
  questions[5].continue_conversation = true;
  questions[6].raw_prompt = "no mark";
  questions[7].sampling.top_p = 7;
  const auto answers = small_batch(4)->answer(questions);
  ASSERT_EQ(answers.size(), questions.size());
  EXPECT_TRUE(answers[0]);
  EXPECT_TRUE(answers[2]);
  for (const std::size_t bad : {1u, 3u, 4u, 5u, 6u, 7u}) {
    EXPECT_FALSE(answers[bad]) << bad;
  }
  EXPECT_EQ(answers[1].error().code, ErrorCode::usage);
  EXPECT_EQ(answers[4].error().code, ErrorCode::usage) << "longer than the model's context";
  EXPECT_EQ(answers[5].error().code, ErrorCode::unsupported);
  EXPECT_EQ(answers[6].error().code, ErrorCode::usage);
}

TEST(BatchSession, a_prompt_that_pruning_leaves_nothing_of_does_not_stop_the_others) {
  BatchOptions options{.threads = 2, .chat_template = "llava-1.5"};
  options.policy = maker("random", {1}, {0});
  auto batch = BatchSession::create(small(), options);
  ASSERT_TRUE(batch);
  std::vector<Question> questions{question("what is this", picture(10)), question("", picture(20)),
                                  question("where", picture(30))};
  questions[1].raw_prompt = "<image>";
  const auto answers = (*batch)->answer(questions);
  EXPECT_TRUE(answers[0]);
  EXPECT_TRUE(answers[2]);
  // Its begin token stays, or it is refused: either way by itself.
  EXPECT_TRUE(answers[1] || answers[1].error().code == ErrorCode::usage);
}

TEST(BatchSession, more_than_memory_allows_waits_and_what_never_fits_is_refused) {
  const auto image = picture(10);
  // float32 keys and values of 3 layers, 2 heads of 16: some hundred bytes a token.
  const auto generous = small_batch(8);
  const std::vector<Question> questions{
      question("what is this", image), question("where", image, 400),
      question("what is there", image), question("what is that", image)};
  const auto free = generous->answer(questions);
  const auto tight = small_batch(8, 60e3);
  const auto answers = tight->answer(questions);
  ASSERT_TRUE(free[0] && free[1] && free[2] && free[3]);
  ASSERT_FALSE(answers[1]);
  EXPECT_EQ(answers[1].error().code, ErrorCode::out_of_memory);
  EXPECT_NE(answers[1].error().to_string().find("GB"), std::string::npos);
  for (const std::size_t i : {0u, 2u, 3u}) {
    ASSERT_TRUE(answers[i]) << answers[i].error().to_string();
    EXPECT_EQ(answers[i]->token_ids, free[i]->token_ids);
  }
}

TEST(BatchSession, sampled_answers_and_logits_are_those_of_a_session) {
  std::vector<Question> questions{question("what is this", picture(10), 9),
                                  question("where is it", picture(20), 4),
                                  question("why", nullptr, 12)};
  questions[0].sampling.temperature = 0.8;
  questions[0].sampling.seed = 5;
  questions[1].keep_logits = true;
  questions[2].sampling.min_new_tokens = 3;
  auto session = Session::create(small(), {.threads = 2, .chat_template = "llava-1.5"});
  ASSERT_TRUE(session);
  const auto answers = small_batch(3)->answer(questions);
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const auto expected = (*session)->ask(questions[i]);
    ASSERT_TRUE(expected && answers[i]);
    EXPECT_EQ(answers[i]->token_ids, expected->token_ids) << i;
    ASSERT_EQ(answers[i]->logits.size(), expected->logits.size());
    double difference = 0, norm = 0;
    for (std::size_t k = 0; k < expected->logits.size(); ++k) {
      difference += std::pow(static_cast<double>(answers[i]->logits[k]) - expected->logits[k], 2);
      norm += std::pow(static_cast<double>(expected->logits[k]), 2);
    }
    EXPECT_LE(difference, 1e-9 * norm);
  }
}

TEST(BatchSession, whatever_a_question_wants_it_draws_what_it_draws_alone) {
  std::vector<Question> questions;
  for (int i = 0; i < 12; ++i) {
    Question& one = questions.emplace_back(
        question("what is this", i % 4 == 3 ? nullptr : picture(static_cast<std::uint8_t>(9 * i)),
                 4 + 9 * (i % 4)));
    one.sampling.min_new_tokens = i % 3 == 2 ? 3 : 0;
    one.keep_logits = i == 5;
  }
  draw_some(questions);
  questions[11].sampling = questions[0].sampling;  // the seed is all that tells them apart
  questions[11].images = questions[0].images;
  questions[11].sampling.seed = 99;
  auto session = Session::create(small(), {.threads = 2, .chat_template = "llava-1.5"});
  ASSERT_TRUE(session);
  std::vector<std::vector<std::int32_t>> expected;
  for (const Question& one : questions) {
    const auto answer = (*session)->ask(one);
    ASSERT_TRUE(answer);
    expected.push_back(answer->token_ids);
  }
  EXPECT_NE(expected[0], expected[11]);
  for (const std::size_t most : {1u, 3u, 12u}) {
    const auto answers = small_batch(most)->answer(questions);
    for (std::size_t i = 0; i < questions.size(); ++i) {
      ASSERT_TRUE(answers[i]) << answers[i].error().to_string();
      EXPECT_EQ(answers[i]->token_ids, expected[i]) << i << " of " << most << " at once";
    }
  }
}

TEST(BatchSession, pictures_with_the_same_pixels_go_through_the_tower_once) {
  const auto image = picture(10);
  std::vector<Question> questions{question("what is this", image), question("where", picture(10)),
                                  question("why", picture(30)), question("who", image)};
  const auto batch = small_batch(4);
  const auto seen = [](const auto& answers) {
    std::vector<bool> each;
    for (const auto& answer : answers) each.push_back(answer && answer->timings.vision > 0);
    return each;
  };
  const auto answers = batch->answer(questions);
  EXPECT_EQ(seen(answers), (std::vector<bool>{true, false, true, false}));
  auto session = Session::create(small(), {.threads = 2, .chat_template = "llava-1.5"});
  ASSERT_TRUE(session);
  for (std::size_t i = 0; i < questions.size(); ++i) {
    const auto alone = (*session)->ask(questions[i]);
    ASSERT_TRUE(alone && answers[i]);
    EXPECT_EQ(answers[i]->token_ids, alone->token_ids) << i;
  }
  for (const auto one : seen(batch->answer(questions))) EXPECT_FALSE(one) << "kept from before";
}

TEST(BatchSession, cancelling_keeps_what_was_said_and_ends_the_rest) {
  std::vector<Question> questions;
  for (int i = 0; i < 6; ++i) {
    questions.push_back(question("what is this", picture(static_cast<std::uint8_t>(30 * i)), 40));
  }
  questions[1].sampling.max_new_tokens = 2;
  std::atomic<bool> cancel{false};
  const auto batch = small_batch(3);
  const auto answers = batch->answer(
      questions, [&](std::size_t, const auto&) { cancel = true; }, &cancel);
  ASSERT_EQ(answers.size(), questions.size());
  std::size_t cancelled = 0;
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer);
    cancelled += answer->finish_reason == FinishReason::cancelled ? 1 : 0;
  }
  EXPECT_GE(cancelled, 4u);
  // The session goes on as if nothing had been.
  cancel = false;
  const auto again = batch->answer({&questions[1], 1}, {}, &cancel);
  ASSERT_TRUE(again[0]);
  EXPECT_NE(again[0]->finish_reason, FinishReason::cancelled);
}

TEST(BatchSession, nothing_asked_is_nothing_answered_and_no_room_is_refused) {
  EXPECT_TRUE(small_batch(2)->answer({}).empty());
  BatchOptions none;
  none.most = 0;
  EXPECT_FALSE(BatchSession::create(small(), none));
  BatchOptions twice{.chat_template = "llava-1.5"};
  twice.policy = [] { return make_policy({.name = "visionzip"}); };
  auto pruner = twice.policy();
  ASSERT_TRUE(pruner);
  twice.tower = tower_pruner(*pruner);
  EXPECT_FALSE(BatchSession::create(small(), twice)) << "two prune the tower";
}

}  // namespace
}  // namespace fovea
