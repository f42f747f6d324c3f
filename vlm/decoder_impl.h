#pragma once
// What Decoder keeps; seen by its own source files only.

#include <vector>

#include "vlm/decoder.h"
#include "vlm/decoder_block.h"

namespace fovea {

struct Decoder::Impl {
  DecoderConfig config;
  LinearDType dtype = LinearDType::f32;
  ConstTensorView embeddings;  // [vocabulary, hidden], as stored
  Tensor owned_embeddings;     // random models have no file that holds them
  std::vector<DecoderBlock> blocks;
  Tensor final_norm;  // [hidden] f32
  Linear lm_head;

  /// Appends what the last row of one layer showed; `attending` as in AttendOptions.
  static void trace_row(const BlockAttention& attention, std::int32_t visible,
                        std::span<const std::int32_t> attending, TracedRow& traced);
  /// Shows an observer the rows kept of one layer's attention.
  Status show(Context& context, const DecoderState& state, int layer,
              const BlockAttention& attention, AttentionObserver& observer) const;
};

}  // namespace fovea
