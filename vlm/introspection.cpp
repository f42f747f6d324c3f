#include "vlm/introspection.h"

#include <algorithm>
#include <cmath>

#include "kernels/copy.h"
#include "pruning/accounting.h"
#include "vlm/model_shapes.h"

namespace fovea {

namespace {

/// Answer tokens whose logits are held at a time: a long answer's would not fit a small machine.
constexpr std::int64_t kLogitRows = 16;

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum);
}

}  // namespace

double answer_confidence(std::span<const double> step_maxima) {
  if (step_maxima.empty()) return 0;
  double logs = 0;
  for (const double maximum : step_maxima) logs += std::log(maximum);
  return std::exp(logs / static_cast<double>(step_maxima.size()));
}

double answer_consistency(std::span<const double> probabilities) {
  double product = 1;
  for (const double probability : probabilities) product *= probability;
  return product;
}

double exit_score(double confidence, double consistency) {
  return 0.5 * (confidence + consistency);
}

AnswerScores score_answer(const Introspection& found) {
  AnswerScores scores;
  scores.confidence = answer_confidence(found.step_maxima);
  if (!found.reread.empty()) {
    scores.consistency = answer_consistency(found.reread);
    scores.score = exit_score(scores.confidence, *scores.consistency);
  }
  return scores;
}

double largest_probability(std::span<const float> logits) {
  return std::exp(*std::max_element(logits.begin(), logits.end()) - log_sum_exp(logits));
}

double probability_of(std::span<const float> logits, std::int32_t token) {
  return std::exp(logits[static_cast<std::size_t>(token)] - log_sum_exp(logits));
}

Result<Reread> reread_answer(Context& context, const LlavaModel& model,
                             const SequenceLayout& prompt, ConstTensorView embeddings,
                             std::span<const std::int32_t> answer,
                             std::shared_ptr<const GuideRanking> ranking, double ratio) {
  if (answer.empty()) return Reread{};
  const DecoderConfig& config = model.config().decoder;
  const auto steps = static_cast<std::int64_t>(answer.size());
  // Nothing is predicted from the last token.
  SequenceLayout layout = prompt;
  layout.kinds.insert(layout.kinds.end(), answer.size() - 1, TokenKind::text);
  layout.visual_ids.insert(layout.visual_ids.end(), answer.size() - 1, -1);

  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView all,
            context.workspace.take(Shape{layout.tokens(), config.hidden_size}, DType::f32));
  FOVEA_CHECK(convert(context, embeddings, all.slice(0, prompt.tokens())));
  FOVEA_CHECK(model.decoder().embed(context, answer.first(answer.size() - 1),
                                    all.slice(prompt.tokens(), steps - 1)));
  Sgl policy({}, {.layer = 0.0, .ratio = ratio});
  policy.rank_by(std::move(ranking));
  FOVEA_TRY(const PruningPlan plan, policy.plan(layout, model_shape(config)));

  PrefillInput input;
  input.embeddings = all;
  input.layout = &layout;
  input.policy = plan.stages.empty() ? nullptr : &policy;
  input.plan = &plan;
  FOVEA_TRY(input.last_hidden,
            context.workspace.take(Shape{steps, config.hidden_size}, DType::f32));
  PruningRecord record;
  record.initial = layout.visual_count();
  DecoderState state = model.decoder().new_state();
  FOVEA_CHECK(model.decoder().prefill(context, input, state, {}, &record, nullptr));

  Reread reread;
  reread.flops =
      account(record, budget_shape(model), layout.tokens() - layout.visual_count()).prefill_flops;
  const auto vocabulary = static_cast<std::size_t>(config.vocab_size);
  for (std::int64_t first = 0; first < steps; first += kLogitRows) {
    if (context.cancelled()) return make_error(ErrorCode::cancelled, "stopped while rereading");
    const std::int64_t rows = std::min(kLogitRows, steps - first);
    Workspace::Scope chunk(context.workspace);
    FOVEA_TRY(const TensorView logits,
              context.workspace.take(Shape{rows, config.vocab_size}, DType::f32));
    FOVEA_CHECK(model.decoder().logits(context, input.last_hidden.slice(first, rows), logits));
    Workspace::Scope host_chunk(context.host().workspace);
    FOVEA_TRY(const ConstTensorView found, to_host(context, logits));
    for (std::int64_t row = 0; row < rows; ++row) {
      reread.probabilities.push_back(probability_of({found.row<float>(row), vocabulary},
                                                    answer[static_cast<std::size_t>(first + row)]));
    }
  }
  return reread;
}

}  // namespace fovea
