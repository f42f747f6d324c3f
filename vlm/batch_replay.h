#pragma once
// A step of several sequences on a GPU: recorded once for each number of places, then replayed with
// other numbers in the same buffers.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kernels/graph.h"
#include "kernels/ops/kv_append/kv_append.h"
#include "vlm/decoder.h"
#include "vlm/decoder_block.h"

namespace fovea {

class BatchReplay {
 public:
  /// That of the owner on this context, made at the first call.
  static Result<std::shared_ptr<BatchReplay>> of(Context& context, const DecoderConfig& config,
                                                 const void* owner);

  BatchReplay(Device device, const DecoderConfig& config) : config_(config), workspace_(device) {}

  /// What a step runs through.
  struct Model {
    const Decoder& decoder;
    ConstTensorView embeddings;
    const std::vector<DecoderBlock>& blocks;
  };

  /// The sequences from now on, whose caches have pages for the steps to come: their lengths,
  /// positions and pages are written to the device. draws: whether their steps choose as draw()
  /// says, or by the largest logit. Errors: out_of_memory, device.
  Status seat(Context& context, const Model& model, std::span<const DecoderState* const> states,
              bool draws);
  /// The token each of them is given next, where it is not the choice of the step before.
  Status tell(Context& context, const std::vector<std::int32_t>& tokens);
  /// How each of them chooses in the next step.
  Status draw(Context& context, std::span<const Draw> draws);
  Status step(Context& context);

  ConstTensorView choices() const { return choices_.view().slice(0, seated_); }  // i32
  ConstTensorView logits() const {
    return logits_.view().slice(0, seated_);
  }  // f32, of the last step

 private:
  Status make_room(Context& context, std::int64_t places, std::int64_t pages);
  /// Everything of places where nobody sits.
  Status empty_places(Context& context);
  Status run(Context& context, const Model& model, std::int64_t places, bool draws);
  Status run_layer(Context& context, const DecoderBlock& block, std::int64_t layer,
                   TensorView hidden);
  KvTables tables(std::int64_t layer) const;

  DecoderConfig config_;
  Workspace workspace_;
  std::int64_t capacity_ = 0;       // places
  std::int64_t page_capacity_ = 0;  // pages of a layer
  std::int64_t seated_ = 0;
  bool drawing_ = false;
  DType stored_ = DType::f32;
  Tensor tokens_;     // i32 [capacity]: given next
  Tensor draws_;      // u8 [capacity, sizeof(Draw)]
  Tensor choices_;    // i32 [capacity]: -1 where there was none
  Tensor by_;         // i32 [capacity]: 1 where somebody sits, else 0
  Tensor lengths_;    // i32 [layers, capacity]; 0 where nobody sits
  Tensor positions_;  // i32 [layers, capacity]
  Tensor pages_;      // i64 [capacity, layers, 2, page_capacity]
  Tensor logits_;     // f32 [capacity, vocabulary]
  std::map<std::pair<std::int64_t, bool>, Graph> graphs_;  // by places, and whether they draw
};

}  // namespace fovea
