#pragma once
// Sequences that answer side by side: each step gives every one of them its next token.

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "kernels/context.h"
#include "kernels/fetch.h"
#include "kernels/ops/draw/draw.h"
#include "vlm/decoder.h"

namespace fovea {

class BatchReplay;

/// How many prompts of these lengths, in their order, to read in each pass of
/// Decoder::prefill_batch(): passes of about equal size that bound what the rows take of memory.
std::vector<std::size_t> prefill_passes(std::span<const std::int64_t> tokens);

/// Sequences have places 0 .. size() - 1 in the order in which they entered. On a GPU a step is a
/// recorded graph and may be ordered before the choices of the one before it are known; at most one
/// batch at a time lives on a context. The decoder and the states must outlive it.
class DecoderBatch {
 public:
  /// context: of all calls below.
  DecoderBatch(Context& context, const Decoder& decoder);
  ~DecoderBatch();
  DecoderBatch(const DecoderBatch&) = delete;
  DecoderBatch& operator=(const DecoderBatch&) = delete;

  std::size_t size() const { return sequences_.size(); }
  /// Steps that were ordered, and whose choices nobody has asked for.
  std::size_t pending() const { return pending_.size(); }

  // Of these only clear() while something is pending.

  /// A sequence whose prompt was read, with the first token of its answer; `most` more steps will
  /// be made of it at most. Errors: usage for a token outside the vocabulary.
  Status enter(DecoderState& state, std::int32_t token, std::int64_t most);
  /// Those behind it move up by one place.
  void leave(std::size_t place);
  /// All leave, and what is pending is not asked for.
  void clear();
  /// What comes next at a place where the choice of the step is not to be taken. Errors: usage.
  Status follow(std::size_t place, std::int32_t token);

  /// Makes the next step ready as far as that goes without its tokens: where a GPU still reads the
  /// prompts, the host need not wait for them. Errors: out_of_memory, device.
  Status prepare();
  /// One more token for every sequence: the one entered, followed, or chosen by the step before.
  /// draws: how each place chooses from the logits after it, by draw_indices(); empty: all take the
  /// largest. Errors: usage (not one a place; nothing was done), cancelled, out_of_memory, device:
  /// the states are then of no more use.
  Status step(std::span<const Draw> draws = {});
  /// The choices of the earliest step that was not asked for: for each place the index drawn, or
  /// that of its largest logit, the lowest among equals; -1 where there is none.
  Result<std::vector<std::int32_t>> chosen();
  /// Of the last step: f32 [size(), vocabulary] where the context computes.
  ConstTensorView logits() const;

 private:
  struct Sequence {
    DecoderState* state = nullptr;
    std::int64_t most = 0;   // steps left
    std::int32_t token = 0;  // given next; on a GPU known while nothing is pending
  };

  Status step_on_cpu(std::span<const Draw> draws);
  Status step_on_gpu(std::span<const Draw> draws);
  Status seat(bool draws);
  Status check_token(std::int32_t token) const;
  /// The choices of the last step, as the tokens of the one to come.
  void given_next(std::span<const std::int32_t> choices);

  Context& context_;
  const Decoder& decoder_;
  std::vector<Sequence> sequences_;
  std::deque<Arriving> pending_;
  Tensor logits_;  // on the CPU; [at least size(), vocabulary]
  Tensor choices_;
  // On a GPU.
  std::shared_ptr<BatchReplay> replay_;
  bool changed_ = true;          // who is there, since the replay's tables were written
  bool drawing_ = false;         // what the replay was told of how steps choose
  bool followed_ = false;        // tokens that the replay does not know
  std::int64_t steps_left_ = 0;  // for which there are pages
};

}  // namespace fovea
