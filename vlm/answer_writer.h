#pragma once
// An answer as it grows: which token comes next, what is said, and when it ends.

#include <cstdint>
#include <optional>
#include <string>
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
  /// Whether tokens are drawn at random; by this sampler, which may draw them elsewhere too.
  bool draws() const { return question_->sampling.temperature != 0.0; }
  Sampler& sampler() { return sampler_; }
  /// Whether the next token's logits are looked at, however it is chosen: they are kept, or have
  /// end tokens that must not be. Once they are not, no later ones are.
  bool looks_at_logits() const;
  /// How a token is chosen where its logits are computed: one call for each, in their order, uses
  /// up its random number. Where the logits are looked at, that uses it up, and this says the
  /// largest.
  Draw next_draw() { return looks_at_logits() ? Draw{} : sampler_.next_draw(); }
  bool ended() const { return ended_; }
  const std::optional<Error>& error() const { return error_; }

  /// The next token by the logits, f32 [1, vocabulary] in the host's memory. maxima: receives the
  /// probability of the likeliest; null for nobody. Errors: those of Sampler::sample().
  Result<std::int32_t> choose(ConstTensorView logits, Answer& answer,
                              std::vector<double>* maxima = nullptr);
  /// Goes on with that token, and ends with it where it is an end token or the last there is room
  /// for. Returns the text that became final with it.
  std::string add(std::int32_t token, Answer& answer);
  /// Both, where logits are given; else the token is `chosen`, as next_draw() said, -1 for none.
  /// Errors: internal.
  Status say(ConstTensorView logits, std::int32_t chosen, Answer& answer);
  /// Ends it with an error, as cancelled.
  void fail(Error error);
  void cancel() { ended_ = true; }
  /// Gives the answer its text. Returns what was held back of it.
  std::string finish(Answer& answer);

 private:
  AnswerWriter(const LlavaModel& model, const Question& question, Sampler sampler);
  bool bars_ends() const { return produced_ < question_->sampling.min_new_tokens; }

  const LlavaModel* model_;
  const Question* question_;
  Sampler sampler_;
  StreamDecoder stream_;
  std::int64_t most_ = 0, produced_ = 0;
  bool ended_ = false;
  std::optional<Error> error_;
};

}  // namespace fovea
