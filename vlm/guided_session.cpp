#include "vlm/guided_session.h"

#include <algorithm>
#include <utility>

#include "vlm/model_shapes.h"

namespace fovea {

namespace {

/// A number from 0 to 1 that depends on the prompt and the seed alone.
double drawn(std::uint64_t fingerprint, std::uint64_t seed) {
  const auto mix = [](std::uint64_t x) {  // the finaliser of splitmix64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
  };
  return static_cast<double>(mix(mix(fingerprint) + seed * 0x9E3779B97F4A7C15ull) >> 11) * 0x1p-53;
}

/// Products and attention of the vision tower and the projector for one picture; a multiply-add
/// counts as two.
double picture_flops(const LlavaModel& model) {
  const VitConfig& vision = model.config().vision;
  double flops = 0;
  for (const auto& [rows, inputs, outputs] : model.vision().products()) {
    flops += 2.0 * static_cast<double>(rows * inputs) * static_cast<double>(outputs);
  }
  const auto tokens = static_cast<double>(vision.tokens());
  const auto width = static_cast<double>(vision.hidden_size);
  flops += 4.0 * model.config().vision_run_layers * tokens * tokens * width;
  const auto out = static_cast<double>(model.config().decoder.hidden_size);
  return flops + 2.0 * static_cast<double>(model.config().visual_tokens_per_image()) *
                     (width * out + out * out);
}

std::int64_t text_tokens(const Answer& answer) {
  return static_cast<std::int64_t>(answer.prompt_token_ids.size()) - answer.pruning.initial;
}

/// Everything the guide computed for its answer.
double answer_flops(const LlavaModel& model, const Answer& answer) {
  // Token by token or at once: a causal decoder computes the same.
  const auto fed = static_cast<std::int64_t>(answer.token_ids.size()) - 1;
  double flops =
      account(answer.pruning, budget_shape(model), text_tokens(answer) + fed).prefill_flops;
  flops += answer.introspection->consistency_flops;
  const std::int64_t pictures = answer.pruning.initial / model.config().visual_tokens_per_image();
  return pictures > 0 ? flops + static_cast<double>(pictures) * picture_flops(model) : flops;
}

/// FLOPs that one visual token costs in all layers of a model, on average over a prompt's.
double flops_of_a_visual_token(const BudgetShape& shape, std::int64_t visual, std::int64_t text) {
  PruningRecord record;
  const double without = account(record, shape, text).prefill_flops;
  record.initial = visual;
  return (account(record, shape, text).prefill_flops - without) / static_cast<double>(visual);
}

/// Adds what the guide took to what the large model took.
void charge(const GuideReport& guide, Answer& answer) {
  const Timings& took = guide.answer.timings;
  Timings& timings = answer.timings;
  timings.preprocess += took.preprocess;
  timings.vision += took.vision;
  timings.projector += took.projector;
  timings.prefill += took.prefill + guide.answer.introspection->consistency_ms;
  timings.first_token += took.total;
  timings.total += took.total;
  answer.budget.kv_bytes += guide.kv_bytes;
  answer.budget.prefill_flops += guide.flops;
}

/// While it lives, two sessions prepare each picture once.
class SharedPictures {
 public:
  SharedPictures(Session& a, Session& b) : a_(a), b_(b) { share(&pictures_); }
  ~SharedPictures() { share(nullptr); }
  SharedPictures(const SharedPictures&) = delete;
  SharedPictures& operator=(const SharedPictures&) = delete;

 private:
  void share(PreparedPictures* pictures) {
    a_.share_preprocessing(pictures);
    b_.share_preprocessing(pictures);
  }
  Session &a_, &b_;
  PreparedPictures pictures_;
};

}  // namespace

GuidedSession::GuidedSession(Session& session, std::shared_ptr<const LlavaModel> guide,
                             GuideOptions options)
    : session_(session), guide_model_(std::move(guide)), options_(std::move(options)) {}

Result<std::unique_ptr<GuidedSession>> GuidedSession::create(
    Session& session, std::shared_ptr<const LlavaModel> guide, GuideOptions options) {
  const LlavaConfig &small = guide->config(), &large = session.model().config();
  if (small.vision.grid() != large.vision.grid() ||
      small.visual_tokens_per_image() != large.visual_tokens_per_image()) {
    const auto grid = [](const LlavaConfig& config) {
      const std::string side = std::to_string(config.vision.grid());
      return side + "x" + side + " cells in " + std::to_string(config.visual_tokens_per_image()) +
             " tokens";
    };
    return make_error(ErrorCode::usage, "the guide " + small.model_id + " sees a picture as " +
                                            grid(small) + ", " + large.model_id + " as " +
                                            grid(large))
        .in_field("--guide")
        .with_remedy("Choose a guide of the same family: its tokens rank those of the model");
  }
  std::unique_ptr<GuidedSession> guided(
      new GuidedSession(session, std::move(guide), std::move(options)));
  FOVEA_TRY(guided->sgl_, read_sgl_options(guided->options_.prune));
  const std::string& calibrated = guided->sgl_.guide_sha256;
  if (!calibrated.empty() && calibrated != guided->guide_model_->sha256()) {
    return make_error(ErrorCode::usage,
                      "the exit threshold was calibrated for another guide than " +
                          guided->guide_model_->config().model_id)
        .in_field("--prune-config")
        .with_remedy("Calibrate this one with `fovea calibrate exit`");
  }
  FOVEA_TRY(guided->policy_, Sgl::make(guided->options_.prune));
  SessionOptions own;
  own.threads = guided->options_.threads;
  own.chat_template = guided->options_.chat_template;
  own.aspect = session.aspect();
  FOVEA_TRY(guided->guide_, Session::create(guided->guide_model_, std::move(own)));
  return guided;
}

Result<Answer> GuidedSession::consult(const Question& question, const std::atomic<bool>* cancel) {
  Question guided = question;
  IntrospectionRequest request;
  request.rows = sgl_.rows;
  if (sgl_.exit_by != ExitBy::score && !options_.run_both) request.consistency_ratio.reset();
  guided.introspect = request;
  // An answer of no words would leave nothing to be sure of; the released code forbids it too.
  guided.sampling.min_new_tokens = std::max(guided.sampling.min_new_tokens, 1);
  const bool may_be_taken = sgl_.exit_threshold.has_value();
  guided.trace = question.trace && may_be_taken;
  guided.keep_logits = question.keep_logits && may_be_taken;
  guide_->continue_from(session_.conversation());
  return guide_->ask(guided, {}, cancel);
}

std::shared_ptr<GuideReport> GuidedSession::report_on(Answer answer,
                                                      const SamplingOptions& sampling) const {
  auto report = std::make_shared<GuideReport>();
  const Introspection& found = *answer.introspection;
  report->model = guide_model_;
  const AnswerScores scores = score_answer(found);
  report->confidence = scores.confidence;
  report->consistency = scores.consistency;
  report->score = scores.score;
  switch (sgl_.exit_by) {
    case ExitBy::score:
      report->decisive = *report->score;
      break;
    case ExitBy::confidence:
      report->decisive = report->confidence;
      break;
    case ExitBy::random:
      report->decisive = drawn(found.fingerprint, sampling.seed);
      break;
  }
  report->exited = sgl_.exit_threshold && report->decisive > *sgl_.exit_threshold;
  report->kv_bytes = answer.budget.kv_bytes;
  report->flops = answer_flops(*guide_model_, answer);
  const std::int64_t visual = answer.pruning.initial;
  if (visual > 0) {
    const BudgetShape large = budget_shape(session_.model());
    report->entering = report->flops / flops_of_a_visual_token(large, visual, text_tokens(answer));
  }
  report->answer = std::move(answer);
  return report;
}

Result<Answer> GuidedSession::ask(const Question& question, const TextCallback& on_text,
                                  const std::atomic<bool>* cancel) {
  const SharedPictures pictures(*guide_, session_);
  // Both models hear the same conversation, whoever answered its earlier turns.
  if (!question.continue_conversation || question.raw_prompt) session_.continue_from({});
  Result<Answer> first = consult(question, cancel);
  if (!first) {
    Error error = std::move(first).error();
    error.message = "the guide: " + error.message;
    return error;
  }
  if (first->finish_reason == FinishReason::cancelled) {
    Answer stopped;
    stopped.finish_reason = FinishReason::cancelled;
    stopped.timings = first->timings;
    return stopped;
  }
  const std::shared_ptr<GuideReport> report = report_on(std::move(*first), question.sampling);
  const Answer& guided = report->answer;

  Answer answer;
  if (!report->exited || options_.run_both) {
    FOVEA_TRY(answer, ask_large(question, report->exited ? TextCallback{} : on_text, cancel,
                                guided.introspection->ranking));
    auto alone = std::make_shared<Answer>(answer);
    alone->logits.clear();
    alone->trace = nullptr;
    report->model_answer = std::move(alone);
    if (answer.finish_reason == FinishReason::cancelled) report->exited = false;
  }
  if (report->exited) {
    session_.continue_from(guide_->conversation());
    if (on_text && !guided.text.empty()) on_text(guided.text);
    answer = take_guided(guided);
  }
  charge(*report, answer);
  answer.guide = report;
  return answer;
}

Result<Answer> GuidedSession::ask_large(const Question& question, const TextCallback& on_text,
                                        const std::atomic<bool>* cancel,
                                        std::shared_ptr<const GuideRanking> ranking) {
  policy_->rank_by(std::move(ranking));
  session_.prune_with(policy_, options_.positions);
  auto answer = session_.ask(question, on_text, cancel);
  session_.prune_with(nullptr);  // the ranking is good for this prompt alone
  return answer;
}

Answer GuidedSession::take_guided(const Answer& guided) const {
  Answer answer = guided;
  answer.introspection = nullptr;  // the report has it
  answer.timings = {};
  answer.timings.per_token = guided.timings.per_token;
  // The large model never ran. Unpruned, it would have had as much text to read as the guide, give
  // or take how its own tokenizer cuts it.
  const BudgetShape shape = budget_shape(session_.model());
  answer.budget = account(guided.pruning, shape, text_tokens(guided));
  answer.budget.entering.assign(static_cast<std::size_t>(shape.layers), 0);
  answer.budget.equivalent = answer.budget.entering_mean = 0;
  answer.budget.prefill_flops = 0;
  answer.budget.kv_bytes = 0;
  return answer;
}

}  // namespace fovea
