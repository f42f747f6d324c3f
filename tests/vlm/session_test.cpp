// Conversations: resuming from what an earlier question computed gives what a fresh start gives.

#include "vlm/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "pruning/methods/adaptinfer.h"
#include "support/model_device.h"

namespace fovea {
namespace {

const std::string kGolden = std::string(FOVEA_SOURCE_DIR) + "/tests/golden/llava/";

std::shared_ptr<const LlavaModel> model() {
  static const auto loaded = [] {
    auto result = LlavaModel::load(
        kGolden + "gqa-saved-f32",
        {.threads = 2, .device = testing::model_device(), .dtype = DTypeChoice::f32});
    EXPECT_TRUE(result) << result.error().to_string();
    return *result;
  }();
  return loaded;
}

std::shared_ptr<const Image> picture(std::uint8_t tone) {
  Image image = Image::filled(90, 70, tone, 120, 40);
  for (int i = 0; i < 70; ++i) image.pixel(i, i)[2] = static_cast<std::uint8_t>(3 * i);
  return std::make_shared<const Image>(std::move(image));
}

std::unique_ptr<Session> session(std::shared_ptr<Policy> policy = nullptr) {
  SessionOptions options;
  options.threads = 2;
  options.chat_template = "llava-1.5";
  options.policy = std::move(policy);
  auto created = Session::create(model(), options);
  EXPECT_TRUE(created) << created.error().to_string();
  return std::move(*created);
}

Question question(const std::string& text, std::shared_ptr<const Image> image) {
  Question q;
  q.text = text;
  if (image != nullptr) q.images.push_back(std::move(image));
  q.sampling.max_new_tokens = 6;
  q.keep_logits = true;
  return q;
}

Answer ask(Session& s, const Question& q) {
  auto answer = s.ask(q);
  EXPECT_TRUE(answer) << answer.error().to_string();
  return answer ? *answer : Answer{};
}

void expect_same(const Answer& a, const Answer& b) {
  EXPECT_EQ(a.token_ids, b.token_ids);
  ASSERT_EQ(a.logits.size(), b.logits.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.logits.size(); ++i) {
    difference += std::pow(static_cast<double>(a.logits[i]) - b.logits[i], 2);
    norm += std::pow(static_cast<double>(b.logits[i]), 2);
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-5);
}

std::shared_ptr<Policy> adaptinfer() {
  return std::make_shared<AdaptInfer>(
      ScheduleRequest{.layers = {0, 1}, .keep = {{9, false}, {4, false}}},
      TextWeighting::text_prior);
}

TEST(Session, asking_again_about_the_same_picture_resumes_and_answers_alike) {
  const auto image = picture(10);
  auto warm = session();
  ask(*warm, question("what is this", image));
  const Answer resumed = ask(*warm, question("where is it", image));
  EXPECT_GT(resumed.prefix_reused, 16);
  EXPECT_EQ(resumed.timings.vision, 0.0) << "the picture was not encoded again";
  auto cold = session();
  const Answer fresh = ask(*cold, question("where is it", image));
  EXPECT_EQ(fresh.prefix_reused, 0);
  expect_same(resumed, fresh);
}

TEST(Session, a_pruned_question_resumes_before_the_first_cut_and_answers_alike) {
  const auto image = picture(10);
  auto warm = session(adaptinfer());
  ask(*warm, question("what is this", image));
  const Answer resumed = ask(*warm, question("where is it", image));
  EXPECT_GT(resumed.prefix_reused, 16);
  auto cold = session(adaptinfer());
  const Answer fresh = ask(*cold, question("where is it", image));
  EXPECT_EQ(fresh.prefix_reused, 0);
  ASSERT_EQ(resumed.pruning.stages.size(), 2u);
  EXPECT_EQ(resumed.pruning.stages[0].kept, fresh.pruning.stages[0].kept);
  EXPECT_EQ(resumed.pruning.stages[1].kept, fresh.pruning.stages[1].kept);
  expect_same(resumed, fresh);
}

TEST(Session, another_picture_is_never_answered_from_the_first_ones_cache) {
  auto s = session();
  ask(*s, question("what is this", picture(10)));
  const Answer second = ask(*s, question("what is this", picture(200)));
  auto cold = session();
  expect_same(second, ask(*cold, question("what is this", picture(200))));
}

TEST(Session, a_later_turn_equals_the_whole_conversation_asked_at_once) {
  const auto image = picture(10);
  auto s = session();
  ask(*s, question("what is this", image));
  Question next = question("where is it", nullptr);
  next.continue_conversation = true;
  const Answer later = ask(*s, next);
  EXPECT_GT(later.prefix_reused, 16);

  // The same two turns where nothing could be reused in between.
  auto other = session();
  ask(*other, question("what is this", image));
  ask(*other, question("something else", picture(77)));
  other->reset();
  ask(*other, question("what is this", image));
  expect_same(ask(*other, next), later);
}

TEST(Session, a_turn_asked_again_with_other_pruning_equals_one_asked_so_at_once) {
  const auto image = picture(30);
  auto again = session();
  ask(*again, question("what is this", image));
  Question second = question("where is it", nullptr);
  second.continue_conversation = true;
  const Answer whole = ask(*again, second);
  again->forget_last_turn();
  again->prune_with(adaptinfer());
  const Answer pruned = ask(*again, second);
  EXPECT_EQ(pruned.prompt_token_ids, whole.prompt_token_ids) << "the turn was not forgotten";
  EXPECT_EQ(whole.pruning.stages.size(), 0U);
  EXPECT_EQ(pruned.pruning.stages.size(), 2U);

  auto direct = session();
  ask(*direct, question("what is this", image));
  direct->prune_with(adaptinfer());
  expect_same(ask(*direct, second), pruned);
}

TEST(Session, forgetting_the_first_turn_forgets_its_picture) {
  auto s = session();
  s->forget_last_turn();
  ask(*s, question("what is this", picture(10)));
  s->forget_last_turn();
  Question next = question("what is that", picture(20));
  next.continue_conversation = true;
  const Answer answer = ask(*s, next);
  EXPECT_EQ(answer.pruning.initial, model()->config().visual_tokens_per_image());
}

TEST(Session, a_question_asked_as_if_fresh_is_charged_its_picture_and_resumes_nothing) {
  const auto image = picture(50);
  auto s = session();
  const Answer first = ask(*s, question("what is this", image));
  Question again = question("where is it", image);
  again.as_if_fresh = true;
  const Answer fresh = ask(*s, again);
  EXPECT_EQ(fresh.prefix_reused, 0);
  EXPECT_EQ(fresh.timings.preprocess, first.timings.preprocess);
  EXPECT_EQ(fresh.timings.vision, first.timings.vision);
  EXPECT_EQ(fresh.timings.projector, first.timings.projector);
  EXPECT_GE(fresh.timings.first_token, fresh.timings.preprocess + fresh.timings.vision +
                                           fresh.timings.projector + fresh.timings.prefill);
  EXPECT_GE(fresh.timings.total, fresh.timings.first_token);
  again.as_if_fresh = false;
  EXPECT_EQ(ask(*s, again).timings.vision, 0.0);
}

TEST(Session, an_answer_says_where_every_visual_token_looks) {
  auto s = session();
  const Answer answer = ask(*s, question("what is this", picture(1)));
  ASSERT_EQ(answer.layout.tokens(), static_cast<std::int64_t>(answer.prompt_token_ids.size()));
  EXPECT_EQ(answer.layout.visual_count(), model()->config().visual_tokens_per_image());
  EXPECT_EQ(answer.layout.visual.front().row, 0);
}

TEST(Session, an_empty_question_is_refused) {
  auto s = session();
  const auto answer = s->ask(question(" \n", picture(1)));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::usage);
}

TEST(Session, a_prompt_longer_than_the_context_is_refused_with_both_numbers) {
  auto s = session();
  std::string text;
  for (int i = 0; i < 600; ++i) text += "what ";
  const auto answer = s->ask(question(text, picture(1)));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::usage);
  EXPECT_NE(answer.error().message.find("512"), std::string::npos) << answer.error().message;
  EXPECT_TRUE(s->ask(question("what is this", picture(1)))) << "the session goes on";
}

TEST(Session, a_raw_prompt_needs_one_picture_for_each_mark) {
  auto s = session();
  Question q = question("", picture(1));
  q.raw_prompt = "<image> and <image> what";
  const auto answer = s->ask(q);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::usage);
}

TEST(Session, a_cancelled_answer_comes_back_as_such_and_the_session_goes_on) {
  auto s = session();
  std::atomic<bool> cancel{true};
  const auto stopped = s->ask(question("what is this", picture(1)), {}, &cancel);
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->finish_reason, FinishReason::cancelled);
  auto cold = session();
  expect_same(ask(*s, question("what is this", picture(1))),
              ask(*cold, question("what is this", picture(1))));
}

TEST(Session, cancelling_while_text_arrives_stops_with_what_there_is) {
  auto s = session();
  std::atomic<bool> cancel{false};
  Question q = question("what is this", picture(1));
  q.sampling.max_new_tokens = 200;
  q.trace = true;
  int pieces = 0;
  const auto answer = s->ask(
      q, [&](const std::string&) { cancel = ++pieces >= 2; }, &cancel);
  ASSERT_TRUE(answer);
  if (answer->finish_reason == FinishReason::cancelled) {
    EXPECT_LT(answer->token_ids.size(), 200u);
    EXPECT_EQ(answer->trace->tokens(), static_cast<int>(answer->token_ids.size()));
  }
}

TEST(Session, the_same_seed_gives_the_same_answer) {
  Question q = question("what is this", picture(1));
  q.sampling.temperature = 1.0;
  q.sampling.seed = 42;
  auto a = session(), b = session();
  EXPECT_EQ(ask(*a, q).token_ids, ask(*b, q).token_ids);
}

TEST(Session, streamed_pieces_make_up_the_answer) {
  auto s = session();
  std::string streamed;
  const auto answer = s->ask(question("what is this", picture(1)),
                             [&](const std::string& piece) { streamed += piece; });
  ASSERT_TRUE(answer);
  EXPECT_EQ(streamed, answer->text);
}

TEST(Trace, rows_sum_to_at_most_one_and_pruned_tokens_are_nan) {
  auto s = session(adaptinfer());
  Question q = question("what is this", picture(1));
  q.trace = true;
  const Answer answer = ask(*s, q);
  ASSERT_NE(answer.trace, nullptr);
  Context context;
  const auto& stages = answer.pruning.stages;
  for (int layer = 0; layer < answer.trace->layers(); ++layer) {
    for (int token = 0; token < answer.trace->tokens(); ++token) {
      const auto map = answer.trace->visual_map(context, layer, token);
      ASSERT_TRUE(map) << map.error().to_string();
      const std::size_t visual = answer.trace->layout().visual.size();
      for (int head = 0; head < answer.trace->heads(); ++head) {
        double sum = 0;
        std::size_t present = 0;
        for (std::size_t id = 0; id < visual; ++id) {
          const float value = (*map)[static_cast<std::size_t>(head) * visual + id];
          if (std::isnan(value)) continue;
          EXPECT_GE(value, 0.0f);
          sum += value;
          ++present;
        }
        EXPECT_LE(sum, 1.0 + 1e-5);
        EXPECT_EQ(present,
                  layer == 0 ? visual : stages[static_cast<std::size_t>(layer - 1)].kept.size());
      }
    }
  }
  EXPECT_FALSE(answer.trace->visual_map(context, 99, 0));
}

}  // namespace
}  // namespace fovea
