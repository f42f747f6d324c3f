#pragma once
// Greedy decoding of one sequence, token by token. On a GPU the device is a step ahead of the host:
// the next step begins there with what the one before chose, while the host still fetches it.

#include <cstdint>
#include <optional>

#include "kernels/fetch.h"
#include "vlm/decoder.h"

namespace fovea {

class DecodeStream {
 public:
  /// All three must outlive it, and nobody else may change the state meanwhile. certain: so many
  /// tokens will be taken, whatever they are.
  DecodeStream(const Decoder& decoder, Context& context, DecoderState& state,
               std::int64_t certain = 0)
      : decoder_(decoder), context_(context), state_(state), certain_(certain) {}
  /// Leaves the state as it was after the last step whose choice was taken.
  ~DecodeStream() { take_back(); }
  DecodeStream(const DecodeStream&) = delete;
  DecodeStream& operator=(const DecodeStream&) = delete;

  /// One more token (the one chosen before, or any other), and the index of the largest logit after
  /// it, the lowest among equals: the next token of a greedy answer. left: how many may be asked
  /// for after this one. Errors: those of Decoder::decode(), internal (logits without a largest).
  Result<std::int32_t> next(std::int32_t token, std::int64_t left);

 private:
  struct Ordered {
    std::int64_t number = 0;
    Milestone done;
  };
  Result<Ordered> order(const Decoder::StepStart& start);
  Result<std::int32_t> next_on_host(std::int32_t token);
  /// Undoes the step that was ordered ahead, if there is one.
  void take_back();

  const Decoder& decoder_;
  Context& context_;
  DecoderState& state_;
  std::int64_t certain_, taken_ = 0;
  std::int32_t chosen_ = 0;       // the last one taken
  std::optional<Ordered> ahead_;  // begins with chosen_
};

}  // namespace fovea
