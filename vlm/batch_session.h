#pragma once
// Many questions, answered side by side: their pictures and prompts share passes through the model,
// and each step gives every answer under way its next token.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pruning/policy.h"
#include "vision/tower_pruner.h"
#include "vlm/llava_model.h"
#include "vlm/session.h"

namespace fovea {

/// Makes another policy of one kind: prompts that are read side by side need one each.
using PolicyMaker = std::function<Result<std::shared_ptr<Policy>>()>;

struct BatchOptions {
  int threads = 1;
  std::string chat_template;              // as in SessionOptions
  PolicyMaker policy;                     // empty: no pruning
  std::optional<PositionMode> positions;  // null: the policy's own choice
  std::shared_ptr<TowerPruner> tower;     // null: the vision tower runs whole
  std::optional<AspectMode> aspect;       // null: the model's own choice
  std::size_t most = 32;                  // answers under way at once, at least 1
  /// Bytes that keys and values may take; 0: most of what is free when the session is made.
  double memory_bytes = 0;
};

/// How pictures and text went through the model, of all questions of one answer() together.
struct BatchTimings {  // milliseconds
  double vision = 0;   // preprocessing, tower and projector
  double prefill = 0;
  double decode = 0;
  double total = 0;
};

class BatchSession {
 public:
  /// Errors: usage or unsupported when no chat template fits, two methods prune the vision tower,
  /// or no answer may be under way; those of options.policy.
  static Result<std::unique_ptr<BatchSession>> create(std::shared_ptr<const LlavaModel> model,
                                                      BatchOptions options);
  ~BatchSession();

  /// Called with each answer as soon as it is final, on the calling thread, in no certain order.
  using Callback = std::function<void(std::size_t index, const Result<Answer>& answer)>;

  /// An answer to each question, in their order. Each question stands alone: no conversation, and
  /// nothing is kept but its pictures. What is wrong with one question is the error of its answer
  /// and nobody else's: those of Session::ask(), unsupported for what a batch does not offer
  /// (continue_conversation, trace, introspect, observe), out_of_memory where the keys and values
  /// of its prompt and longest answer alone exceed options.memory_bytes. Answers in f32 are
  /// Session::ask()'s, drawn ones too; where products of more rows round differently, logits may
  /// differ in their last bits, and seldom a draw falls to the neighbour. Timings of an answer:
  /// preprocess to prefill are its share of what was done together, first_token and total count
  /// from the call. Setting *cancel ends all: answers under way keep their text so far, and all
  /// that are not final come back as cancelled.
  std::vector<Result<Answer>> answer(std::span<const Question> questions,
                                     const Callback& on_answer = {},
                                     const std::atomic<bool>* cancel = nullptr);

  /// Of the last answer().
  const BatchTimings& timings() const;
  const LlavaModel& model() const;

 private:
  friend class BatchCall;
  struct Impl;
  explicit BatchSession(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fovea
