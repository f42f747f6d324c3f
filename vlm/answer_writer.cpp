#include "vlm/answer_writer.h"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "kernels/ops/rows/rows.h"
#include "vlm/introspection.h"

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

bool AnswerWriter::looks_at_logits() const {
  return question_->keep_logits || bars_ends();
}

Result<std::int32_t> AnswerWriter::choose(ConstTensorView logits, Answer& answer,
                                          std::vector<double>* maxima) {
  const std::span row(logits.as<float>(), static_cast<std::size_t>(logits.shape.elements()));
  std::span<const float> allowed = row;
  std::vector<float> without_ends;
  if (bars_ends()) {
    without_ends.assign(row.begin(), row.end());
    for (const std::int32_t end : model_->config().eos_token_ids) {
      if (static_cast<std::size_t>(end) < row.size()) {
        without_ends[static_cast<std::size_t>(end)] = -std::numeric_limits<float>::infinity();
      }
    }
    allowed = without_ends;
  }
  FOVEA_TRY(const std::int32_t token, sampler_.sample(allowed));
  if (maxima != nullptr) maxima->push_back(largest_probability(allowed));
  if (question_->keep_logits) answer.logits.insert(answer.logits.end(), row.begin(), row.end());
  return token;
}

std::string AnswerWriter::add(std::int32_t token, Answer& answer) {
  answer.token_ids.push_back(token);
  ++produced_;
  const auto& ends = model_->config().eos_token_ids;
  if (std::find(ends.begin(), ends.end(), token) != ends.end()) {
    answer.finish_reason = FinishReason::stop;
    ended_ = true;
    return {};
  }
  answer.finish_reason = FinishReason::length;
  ended_ = left() <= 0;
  return stream_.push(token);
}

Status AnswerWriter::say(ConstTensorView logits, std::int32_t chosen, Answer& answer) {
  std::int32_t token = chosen;
  if (!logits.empty()) {
    FOVEA_TRY(token, choose(logits, answer));
  }
  if (token < 0) return no_largest_index();
  add(token, answer);
  return {};
}

void AnswerWriter::fail(Error error) {
  error_ = std::move(error);
  ended_ = true;
}

std::string AnswerWriter::finish(Answer& answer) {
  std::string held_back = stream_.finish();
  answer.text = stream_.text();
  return held_back;
}

}  // namespace fovea
