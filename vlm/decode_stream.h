#pragma once
// Decoding of one sequence, token by token. On a GPU the device is a step ahead of the host: the
// next step begins there with what the one before chose, while the host still fetches it.

#include <cstdint>
#include <optional>

#include "kernels/fetch.h"
#include "vlm/decoder.h"
#include "vlm/sampler.h"

namespace fovea {

class DecodeStream {
 public:
  /// All must outlive it, and nobody else may change the state or use the sampler meanwhile.
  /// certain: so many tokens will be taken, whatever they are. sampler: chooses; null: the largest
  /// logit does, the lowest index among equals.
  DecodeStream(const Decoder& decoder, Context& context, DecoderState& state,
               std::int64_t certain = 0, Sampler* sampler = nullptr)
      : decoder_(decoder), context_(context), state_(state), certain_(certain), sampler_(sampler) {}
  /// Leaves the state as it was after the last step whose choice was taken.
  ~DecodeStream() { take_back(); }
  DecodeStream(const DecodeStream&) = delete;
  DecodeStream& operator=(const DecodeStream&) = delete;

  /// One more token (the one chosen before, or any other), and the choice from the logits after it:
  /// the answer's next token. left: how many may be asked for after this one. Errors: those of
  /// Decoder::decode(), internal (logits without a largest).
  Result<std::int32_t> next(std::int32_t token, std::int64_t left);

 private:
  struct Ordered {
    std::int64_t number = 0;
    Milestone done;
    std::optional<Draw> draw;
  };
  Result<Ordered> order(std::optional<std::int32_t> token, std::int64_t after);
  Result<std::int32_t> next_on_host(std::int32_t token);
  /// Undoes the step that was ordered ahead, if there is one.
  void take_back();

  const Decoder& decoder_;
  Context& context_;
  DecoderState& state_;
  std::int64_t certain_, taken_ = 0;
  Sampler* sampler_;
  std::optional<Draw> undone_;    // of the step that was taken back: the next one's
  std::int32_t chosen_ = 0;       // the last one taken
  std::optional<Ordered> ahead_;  // begins with chosen_
};

}  // namespace fovea
