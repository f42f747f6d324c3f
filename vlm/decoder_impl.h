#pragma once
// What Decoder keeps; seen by its own source files only.

#include <vector>

#include "vlm/decoder.h"
#include "vlm/decoder_block.h"

namespace fovea {

struct Decoder::Impl {
  DecoderConfig config;
  LinearDType dtype = LinearDType::f32;
  Device device;
  ConstTensorView embeddings;  // [vocabulary, hidden], as stored
  Tensor owned_embeddings;     // where no file holds them: random models, GPUs
  std::vector<DecoderBlock> blocks;
  Tensor final_norm;  // [hidden] f32
  Linear lm_head;

  /// Appends what the last row of one layer showed; `attending` as in AttendOptions.
  static Status trace_row(Context& context, const BlockAttention& attention, std::int32_t visible,
                          std::span<const std::int32_t> attending, TracedRow& traced);
  /// Shows an observer the rows kept of one layer's attention.
  Status show(Context& context, const DecoderState& state, int layer,
              const BlockAttention& attention, AttentionObserver& observer) const;
};

}  // namespace fovea
