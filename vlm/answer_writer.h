#pragma once
// An answer as it grows by tokens that are chosen elsewhere: what is said, and when it ends.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/tensor.h"
#include "vlm/sampler.h"
#include "vlm/session.h"
#include "vlm/tokenizer.h"

namespace fovea {

class AnswerWriter {
 public:
  /// next_position: behind the prompt; the model's context bounds the answer. The model and the
  /// question must outlive this. Errors: those of Sampler::create().
  static Result<AnswerWriter> create(const LlavaModel& model, const Question& question,
                                     std::int64_t next_position);

  /// Tokens the answer may have, and those that may still come.
  std::int64_t most() const { return most_; }
  std::int64_t left() const { return most_ - produced_; }
  /// Whether the next token cannot be told without the logits on the host; once it can, never
  /// again.
  bool wants_logits() const;
  /// How the next token that was not asked for is chosen where its logits are; uses up a random
  /// number if it takes one. By the largest logit where logits are wanted.
  Draw next_draw() { return wants_logits() ? Draw{} : sampler_.next_draw(); }
  bool ended() const { return ended_; }
  const std::optional<Error>& error() const { return error_; }

  /// The next token: sampled from the logits, f32 [1, vocabulary] in the host's memory, where they
  /// are given; else `chosen`, as next_draw() said, -1 for none. Errors: internal.
  Status say(ConstTensorView logits, std::int32_t chosen, Answer& answer);
  /// Ends it with an error, as cancelled.
  void fail(Error error);
  void cancel() { ended_ = true; }
  /// What was held back of the text, and the whole of it.
  void finish(Answer& answer);

 private:
  AnswerWriter(const LlavaModel& model, const Question& question, Sampler sampler);
  Result<std::int32_t> sample(std::span<const float> logits);

  const LlavaModel* model_;
  const Question* question_;
  Sampler sampler_;
  StreamDecoder stream_;
  std::int64_t most_ = 0, produced_ = 0;
  bool ended_ = false;
  std::optional<Error> error_;
};

}  // namespace fovea
