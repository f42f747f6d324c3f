#include "vlm/answer_writer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/ops/rows/rows.h"

namespace fovea {

AnswerWriter::AnswerWriter(const LlavaModel& model, const Question& question, Sampler sampler)
    : model_(&model),
      question_(&question),
      sampler_(std::move(sampler)),
      stream_(model.tokenizer()) {}

Result<AnswerWriter> AnswerWriter::create(const LlavaModel& model, const Question& question,
                                          std::int64_t next_position) {
  FOVEA_TRY(Sampler sampler, Sampler::create(question.sampling));
  AnswerWriter writer(model, question, std::move(sampler));
  writer.most_ = std::min<std::int64_t>(question.sampling.max_new_tokens,
                                        model.config().decoder.max_positions - next_position);
  return writer;
}

bool AnswerWriter::wants_logits() const {
  return question_->keep_logits || produced_ < question_->sampling.min_new_tokens;
}

Result<std::int32_t> AnswerWriter::sample(std::span<const float> logits) {
  if (produced_ >= question_->sampling.min_new_tokens) return sampler_.sample(logits);
  std::vector<float> allowed(logits.begin(), logits.end());
  for (const std::int32_t end : model_->config().eos_token_ids) {
    if (static_cast<std::size_t>(end) < allowed.size()) {
      allowed[static_cast<std::size_t>(end)] = -std::numeric_limits<float>::infinity();
    }
  }
  return sampler_.sample(allowed);
}

Status AnswerWriter::say(ConstTensorView logits, std::int32_t chosen, Answer& answer) {
  std::int32_t token = chosen;
  if (!logits.empty()) {
    const std::span row(logits.as<float>(), static_cast<std::size_t>(logits.shape.elements()));
    FOVEA_TRY(token, sample(row));
    if (question_->keep_logits) answer.logits.insert(answer.logits.end(), row.begin(), row.end());
  }
  if (token < 0) return no_largest_index();
  answer.token_ids.push_back(token);
  ++produced_;
  const auto& ends = model_->config().eos_token_ids;
  if (std::find(ends.begin(), ends.end(), token) != ends.end()) {
    answer.finish_reason = FinishReason::stop;
    ended_ = true;
    return {};
  }
  stream_.push(token);
  answer.finish_reason = FinishReason::length;
  ended_ = left() <= 0;
  return {};
}

void AnswerWriter::fail(Error error) {
  error_ = std::move(error);
  ended_ = true;
}

void AnswerWriter::finish(Answer& answer) {
  stream_.finish();
  answer.text = stream_.text();
}

}  // namespace fovea
