// A small model that answers first: what it decides for the large one, and who answers.

#include "vlm/guided_session.h"

#include <gtest/gtest.h>

#include <sstream>

#include "kernels/ops/topk/topk.h"
#include "pruning/methods/sgl.h"
#include "support/model_device.h"
#include "support/tensors.h"

namespace fovea {
namespace {

using testing::close_to;
using testing::same_bits;

/// Checkpoints of the same grid: hidden size 32 with grouped queries, and 48 without.
std::shared_ptr<const LlavaModel> load(const std::string& name) {
  auto model = LlavaModel::load(
      std::string(FOVEA_SOURCE_DIR) + "/tests/golden/llava/" + name,
      {.threads = 2, .device = testing::model_device(), .dtype = DTypeChoice::f32});
  EXPECT_TRUE(model) << model.error().to_string();
  return model ? *model : nullptr;
}
std::shared_ptr<const LlavaModel> large_model() {
  static const auto model = load("gqa-saved-f32");
  return model;
}
std::shared_ptr<const LlavaModel> small_model() {
  static const auto model = load("mha-published-f16");
  return model;
}

std::shared_ptr<const Image> picture(std::uint8_t tone) {
  Image image = Image::filled(90, 70, tone, 120, 40);
  for (int i = 0; i < 70; ++i) image.pixel(i, i)[2] = static_cast<std::uint8_t>(3 * i);
  return std::make_shared<const Image>(std::move(image));
}

std::unique_ptr<Session> plain_session(std::shared_ptr<const LlavaModel> model) {
  SessionOptions options;
  options.threads = 2;
  options.chat_template = "llava-1.5";
  auto session = Session::create(std::move(model), options);
  EXPECT_TRUE(session) << session.error().to_string();
  return std::move(*session);
}

GuideOptions options_with(const std::string& layer, const std::string& ratio) {
  GuideOptions options;
  options.threads = 2;
  options.chat_template = "llava-1.5";
  options.prune.name = "sgl";
  options.prune.options = {{"guide-layer", layer}, {"guide-ratio", ratio}};
  return options;
}

/// The large model's session with its guide.
struct Pair {
  std::unique_ptr<Session> session = plain_session(large_model());
  std::unique_ptr<GuidedSession> guided;

  explicit Pair(GuideOptions options, std::shared_ptr<const LlavaModel> guide = small_model()) {
    auto created = GuidedSession::create(*session, std::move(guide), std::move(options));
    EXPECT_TRUE(created) << created.error().to_string();
    if (created) guided = std::move(*created);
  }

  Answer ask(const Question& question, const TextCallback& on_text = {}) {
    auto answer = guided->ask(question, on_text);
    EXPECT_TRUE(answer) << answer.error().to_string();
    return answer ? *answer : Answer{};
  }
};

Question question(const std::string& text, std::vector<std::shared_ptr<const Image>> images) {
  Question q;
  q.text = text;
  q.images = std::move(images);
  q.sampling.max_new_tokens = 6;
  q.keep_logits = true;
  return q;
}

Question first_question() {
  return question("what is this", {picture(10)});
}

Answer ask(Session& session, const Question& q) {
  auto answer = session.ask(q);
  EXPECT_TRUE(answer) << answer.error().to_string();
  return answer ? *answer : Answer{};
}

TEST(GuidedSession, a_ratio_of_one_leaves_the_large_models_output_bit_for_bit) {
  auto plain = plain_session(large_model());
  const Answer expected = ask(*plain, first_question());
  for (const char* layer : {"0", "0.4", "1"}) {
    Pair pair(options_with(layer, "1.0"));
    const Answer answer = pair.ask(first_question());
    EXPECT_EQ(answer.token_ids, expected.token_ids);
    EXPECT_TRUE(same_bits(answer.logits, expected.logits)) << "cut before " << layer;
    EXPECT_TRUE(answer.pruning.stages.empty());
  }
}

TEST(GuidedSession, another_order_of_importance_changes_nothing_when_all_is_kept) {
  auto plain = plain_session(large_model());
  const Answer expected = ask(*plain, first_question());
  auto other = plain_session(small_model());
  Question seen = first_question();
  seen.introspect = IntrospectionRequest{};
  GuideRanking ranking = *ask(*other, seen).introspection->ranking;
  std::reverse(ranking.importance.begin(), ranking.importance.end());
  auto policy = std::make_shared<Sgl>(ScheduleRequest{}, SglCut{.layer = 0.4, .ratio = 1.0});
  policy->rank_by(std::make_shared<const GuideRanking>(ranking));
  auto session = plain_session(large_model());
  session->prune_with(policy);
  EXPECT_TRUE(same_bits(ask(*session, first_question()).logits, expected.logits));
}

TEST(GuidedSession, keeps_what_a_guide_of_another_width_found_important) {
  Pair pair(options_with("0.4", "0.3"));  // before layer int(0.4 x 3) keep int(0.3 x 16)
  const Answer answer = pair.ask(first_question());
  ASSERT_EQ(answer.pruning.stages.size(), 1U);
  EXPECT_EQ(answer.pruning.stages[0].when, Hook::before_layer);
  EXPECT_EQ(answer.pruning.stages[0].layer, 1);
  ASSERT_NE(answer.guide, nullptr);
  const auto& ranking = *answer.guide->answer.introspection->ranking;
  EXPECT_EQ(answer.pruning.stages[0].kept, top_k_ascending(ranking.importance, 4));
  EXPECT_EQ(answer.guide->model, small_model());
  EXPECT_FALSE(answer.guide->exited);
  EXPECT_EQ(answer.pruning.positions, PositionMode::original);
  EXPECT_NEAR(answer.budget.entering_mean, (16 + 4 + 4) / 3.0, 1e-12);
}

TEST(GuidedSession, a_model_guides_itself) {
  Pair pair(options_with("0.4", "0.5"), large_model());
  const Answer answer = pair.ask(first_question());
  // What it says as a guide is what it says by itself.
  auto plain = plain_session(large_model());
  Question seen = first_question();
  seen.introspect = IntrospectionRequest{};
  const Answer alone = ask(*plain, seen);
  EXPECT_EQ(answer.guide->answer.token_ids, alone.token_ids);
  EXPECT_EQ(answer.guide->answer.introspection->ranking->importance,
            alone.introspection->ranking->importance);
  EXPECT_EQ(answer.pruning.stages.at(0).kept,
            top_k_ascending(alone.introspection->ranking->importance, 8));
}

TEST(GuidedSession, both_position_modes_and_sampling_limits_are_passed_on) {
  GuideOptions options = options_with("0.4", "0.5");
  options.positions = PositionMode::compact;
  Pair pair(options);
  Question q = first_question();
  q.sampling.max_new_tokens = 2;
  const Answer answer = pair.ask(q);
  EXPECT_EQ(answer.pruning.positions, PositionMode::compact);
  EXPECT_LE(answer.token_ids.size(), 2U);
  EXPECT_LE(answer.guide->answer.token_ids.size(), 2U);
}

TEST(GuidedSession, several_pictures_are_ranked_together) {
  Pair pair(options_with("0.4", "0.25"));
  const Answer answer = pair.ask(question("what are these", {picture(10), picture(200)}));
  ASSERT_EQ(answer.pruning.stages.size(), 1U);
  EXPECT_EQ(answer.pruning.stages[0].kept.size(), 8U);
  EXPECT_EQ(answer.pruning.initial, 32);
  EXPECT_EQ(answer.pruning.stages[0].kept,
            top_k_ascending(answer.guide->answer.introspection->ranking->importance, 8));
}

TEST(GuidedSession, a_question_without_a_picture_is_answered_by_both) {
  Pair pair(options_with("0.4", "0.25"));
  const Answer answer = pair.ask(question("what is this", {}));
  EXPECT_FALSE(answer.token_ids.empty());
  EXPECT_TRUE(answer.pruning.stages.empty());
  EXPECT_FALSE(answer.guide->answer.token_ids.empty());
  EXPECT_EQ(answer.guide->entering, 0.0);
}

TEST(GuidedSession, another_visual_grid_is_refused_before_anything_runs) {
  auto session = plain_session(large_model());
  // It passes the class token on: 17 tokens instead of 16.
  const auto other = GuidedSession::create(*session, load("full-published-f16-sharded"),
                                           options_with("0.4", "0.4"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::usage);
  EXPECT_EQ(other.error().field, "--guide");
  EXPECT_NE(other.error().message.find("17"), std::string::npos) << other.error().message;
  EXPECT_NE(other.error().message.find("16"), std::string::npos) << other.error().message;
}

TEST(GuidedSession, fractions_that_are_none_are_refused) {
  auto session = plain_session(large_model());
  const auto bad = GuidedSession::create(*session, small_model(), options_with("0.4", "1.4"));
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().field, "--guide-ratio");
}

TEST(GuidedSession, without_a_threshold_the_large_model_always_answers) {
  Pair pair(options_with("0.4", "0.5"));
  const Answer answer = pair.ask(first_question());
  EXPECT_FALSE(answer.guide->exited);
  EXPECT_NE(answer.guide->model_answer, nullptr);
  EXPECT_GT(answer.guide->confidence, 0.0);
  EXPECT_LE(answer.guide->confidence, 1.0);
  ASSERT_TRUE(answer.guide->score);
  EXPECT_EQ(*answer.guide->score, exit_score(answer.guide->confidence, *answer.guide->consistency));
}

TEST(GuidedSession, at_threshold_0_the_large_model_never_runs) {
  GuideOptions options = options_with("0.4", "0.5");
  options.prune.options["exit-threshold"] = "0";
  Pair pair(options);
  Question q = first_question();
  q.trace = true;
  std::string streamed;
  const Answer answer = pair.ask(q, [&](const std::string& piece) { streamed += piece; });
  EXPECT_TRUE(answer.guide->exited);
  EXPECT_EQ(answer.guide->model_answer, nullptr);
  EXPECT_EQ(streamed, answer.text);
  ASSERT_NE(answer.trace, nullptr);
  EXPECT_EQ(answer.trace->heads(), small_model()->config().decoder.heads);
  // The answer is the guide's.
  auto small = plain_session(small_model());
  const Answer alone = ask(*small, first_question());
  EXPECT_EQ(answer.text, alone.text);
  EXPECT_EQ(answer.token_ids, alone.token_ids);
  EXPECT_EQ(answer.logits.size(),
            answer.token_ids.size() *
                static_cast<std::size_t>(small_model()->config().decoder.vocab_size));
}

TEST(GuidedSession, above_threshold_1_the_large_model_always_runs) {
  GuideOptions options = options_with("0.4", "0.5");
  options.prune.options["exit-threshold"] = "1.01";
  Pair always(options);
  Pair never_exits(options_with("0.4", "0.5"));
  const Answer answer = always.ask(first_question());
  EXPECT_FALSE(answer.guide->exited);
  EXPECT_EQ(answer.token_ids, never_exits.ask(first_question()).token_ids);
}

TEST(GuidedSession, the_answer_is_taken_only_above_the_threshold) {
  Pair probe(options_with("0.4", "0.5"));
  const double score = *probe.ask(first_question()).guide->score;
  GuideOptions options = options_with("0.4", "0.5");
  const auto text = [](double value) {
    std::ostringstream digits;
    digits.precision(17);
    digits << value;
    return digits.str();
  };
  options.prune.options["exit-threshold"] = text(score);
  EXPECT_FALSE(Pair(options).ask(first_question()).guide->exited);
  options.prune.options["exit-threshold"] = text(score - 1e-6);
  EXPECT_TRUE(Pair(options).ask(first_question()).guide->exited);
}

TEST(GuidedSession, confidence_alone_needs_no_second_pass) {
  GuideOptions options = options_with("0.4", "0.5");
  options.prune.options["exit-by"] = "confidence";
  options.prune.options["exit-threshold"] = "0";
  const Answer answer = Pair(options).ask(first_question());
  EXPECT_TRUE(answer.guide->exited);
  EXPECT_FALSE(answer.guide->consistency);
  EXPECT_FALSE(answer.guide->score);
  EXPECT_EQ(answer.guide->decisive, answer.guide->confidence);
}

TEST(GuidedSession, a_random_exit_depends_on_prompt_and_seed_alone) {
  GuideOptions options = options_with("0.4", "0.5");
  options.prune.options["exit-by"] = "random";
  const auto drawn = [&](const std::string& text, std::uint64_t seed) {
    Question q = question(text, {picture(10)});
    q.sampling.seed = seed;
    return Pair(options).ask(q).guide->decisive;
  };
  const double value = drawn("what is this", 1);
  EXPECT_GE(value, 0.0);
  EXPECT_LT(value, 1.0);
  EXPECT_EQ(drawn("what is this", 1), value);
  EXPECT_NE(drawn("what is this", 2), value);
  EXPECT_NE(drawn("where is it", 1), value);
}

TEST(GuidedSession, both_answers_are_there_when_asked_for) {
  GuideOptions options = options_with("0.4", "0.5");
  options.prune.options["exit-threshold"] = "0";
  options.run_both = true;
  std::string streamed;
  Pair both(options);
  const Answer answer =
      both.ask(first_question(), [&](const std::string& piece) { streamed += piece; });
  EXPECT_TRUE(answer.guide->exited);
  EXPECT_EQ(answer.text, answer.guide->answer.text);
  EXPECT_EQ(streamed, answer.text) << "only the answer given is shown";
  ASSERT_NE(answer.guide->model_answer, nullptr);
  Pair large(options_with("0.4", "0.5"));
  EXPECT_EQ(answer.guide->model_answer->token_ids, large.ask(first_question()).token_ids);
  // Its time is not that of the answer given.
  EXPECT_LE(answer.timings.total, answer.guide->answer.timings.total);
}

TEST(GuidedSession, the_guides_cost_is_part_of_every_time_and_budget) {
  Pair pair(options_with("0.4", "0.5"));
  const Answer answer = pair.ask(first_question());
  const GuideReport& guide = *answer.guide;
  const Answer& alone = *guide.model_answer;
  EXPECT_GT(guide.kv_bytes, 0);
  EXPECT_EQ(answer.budget.kv_bytes, alone.budget.kv_bytes + guide.kv_bytes);
  EXPECT_EQ(answer.budget.prefill_flops, alone.budget.prefill_flops + guide.flops);
  EXPECT_EQ(answer.budget.prefill_flops_unpruned, alone.budget.prefill_flops_unpruned);
  EXPECT_GT(guide.flops, guide.answer.budget.prefill_flops) << "tower, answer and second pass too";
  EXPECT_GT(guide.entering, 0.0);
  EXPECT_GE(guide.answer.timings.total, guide.answer.introspection->consistency_ms);
  EXPECT_EQ(answer.timings.first_token, alone.timings.first_token + guide.answer.timings.total);
  EXPECT_EQ(answer.timings.total, alone.timings.total + guide.answer.timings.total);
  EXPECT_GT(answer.timings.vision, alone.timings.vision);
}

TEST(GuidedSession, an_exit_costs_the_guide_alone) {
  GuideOptions options = options_with("0.4", "0.5");
  options.prune.options["exit-threshold"] = "0";
  const Answer answer = Pair(options).ask(first_question());
  const GuideReport& guide = *answer.guide;
  EXPECT_EQ(answer.budget.entering_mean, 0.0);
  EXPECT_EQ(answer.budget.equivalent, 0.0);
  EXPECT_EQ(answer.budget.kv_bytes, guide.kv_bytes);
  EXPECT_EQ(answer.budget.prefill_flops, guide.flops);
  EXPECT_GT(answer.budget.kv_bytes_unpruned, 0);
  EXPECT_EQ(answer.timings.total, guide.answer.timings.total);
  EXPECT_EQ(answer.timings.first_token, guide.answer.timings.total);
}

TEST(GuidedSession, asking_again_about_a_picture_resumes_in_both_and_ranks_alike) {
  const auto image = picture(10);
  Pair warm(options_with("0.4", "0.5"));
  warm.ask(question("what is this", {image}));
  const Answer resumed = warm.ask(question("where is it", {image}));
  const Answer fresh = Pair(options_with("0.4", "0.5")).ask(question("where is it", {image}));
  EXPECT_GT(resumed.prefix_reused, 16);
  EXPECT_GT(resumed.guide->answer.prefix_reused, 16);
  EXPECT_EQ(resumed.timings.vision, 0.0) << "neither tower ran again";
  EXPECT_EQ(resumed.token_ids, fresh.token_ids);
  EXPECT_EQ(resumed.pruning.stages.at(0).kept, fresh.pruning.stages.at(0).kept);
  const auto& importance = fresh.guide->answer.introspection->ranking->importance;
  EXPECT_TRUE(close_to(resumed.guide->answer.introspection->ranking->importance,
                       std::vector<double>(importance.begin(), importance.end()), 1e-5));
}

TEST(GuidedSession, a_conversation_goes_on_with_the_answers_that_were_given) {
  Question next = question("where is it", {});
  next.continue_conversation = true;
  for (const bool exits : {false, true}) {
    GuideOptions options = options_with("0.4", "0.5");
    if (exits) options.prune.options["exit-threshold"] = "0";
    Pair pair(options);
    const Answer first = pair.ask(first_question());
    ASSERT_EQ(pair.session->conversation().turns.size(), 1U);
    EXPECT_EQ(pair.session->conversation().turns[0].answer, first.text);
    const Answer second = pair.ask(next);
    ASSERT_EQ(pair.session->conversation().turns.size(), 2U);
    EXPECT_EQ(pair.session->conversation().turns[1].answer, second.text);

    // The guide heard the same first turn, whoever had answered it.
    auto guide = plain_session(small_model());
    guide->continue_from({{{"what is this", 1, first.text}}, first_question().images});
    EXPECT_EQ(second.guide->answer.prompt_token_ids, ask(*guide, next).prompt_token_ids);
  }
}

TEST(GuidedSession, the_session_can_be_asked_without_the_guide_in_between) {
  Pair pair(options_with("0", "0.1"));
  pair.ask(first_question());
  auto plain = plain_session(large_model());
  const Answer unguided = ask(*pair.session, first_question());
  EXPECT_EQ(unguided.guide, nullptr);
  EXPECT_TRUE(unguided.pruning.stages.empty());
  EXPECT_TRUE(same_bits(unguided.logits, ask(*plain, first_question()).logits));
}

TEST(GuidedSession, a_cancelled_question_leaves_no_turn_and_the_pair_goes_on) {
  Pair pair(options_with("0.4", "0.5"));
  const std::atomic<bool> cancel{true};
  const auto stopped = pair.guided->ask(first_question(), {}, &cancel);
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->finish_reason, FinishReason::cancelled);
  EXPECT_TRUE(stopped->text.empty());
  EXPECT_TRUE(pair.session->conversation().turns.empty());
  const Answer answer = pair.ask(first_question());
  EXPECT_EQ(answer.token_ids, Pair(options_with("0.4", "0.5")).ask(first_question()).token_ids);
}

TEST(GuidedSession, errors_of_the_guide_name_it) {
  Pair pair(options_with("0.4", "0.5"));
  std::string text;
  for (int i = 0; i < 600; ++i) text += "what ";
  const auto answer = pair.guided->ask(question(text, {picture(10)}));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::usage);
  EXPECT_EQ(answer.error().message.rfind("the guide: ", 0), 0U) << answer.error().message;
  EXPECT_FALSE(pair.ask(first_question()).token_ids.empty());
}

TEST(GuidedSession, the_guides_answer_is_never_empty) {
  // Nearly uniform sampling would end an answer at its first step now and then.
  GuideOptions options = options_with("0.4", "0.5");
  Pair pair(options);
  const auto& ends = small_model()->config().eos_token_ids;
  Question q = first_question();
  q.sampling.temperature = 100;
  q.sampling.max_new_tokens = 1;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    q.sampling.seed = seed;
    const Answer answer = pair.ask(q);
    for (const std::int64_t end : ends) EXPECT_NE(answer.guide->answer.token_ids.at(0), end);
  }
}

TEST(Session, no_end_token_comes_before_the_fewest_tokens_asked_for) {
  auto session = plain_session(large_model());
  Question q = first_question();
  q.sampling.temperature = 100;
  q.sampling.max_new_tokens = q.sampling.min_new_tokens = 200;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    q.sampling.seed = seed;
    EXPECT_EQ(ask(*session, q).token_ids.size(), 200U) << seed;
  }
}

TEST(PreparedPictures, a_picture_is_prepared_once_for_each_way) {
  Context context;
  PreparedPictures pictures;
  const auto a = picture(10), b = picture(10);
  PreprocessConfig config = large_model()->config().preprocess;
  const auto first = pictures.get(context, *a, config);
  ASSERT_TRUE(first);
  EXPECT_EQ(*pictures.get(context, *a, config), *first);
  EXPECT_NE(*pictures.get(context, *b, config), *first);
  config.aspect = AspectMode::pad;
  EXPECT_NE(*pictures.get(context, *a, config), *first);
}

}  // namespace
}  // namespace fovea
