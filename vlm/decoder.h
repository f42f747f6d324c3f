#pragma once
// The Llama decoder: one loop over layers, between which pruning policies act. KV length and
// positions differ per layer.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/context.h"
#include "kernels/weights/weight_reader.h"
#include "pruning/accounting.h"
#include "pruning/policy.h"
#include "vlm/kv_cache.h"
#include "vlm/llava_config.h"

namespace fovea {

/// Query rows and lse of one run of the decoder's last row, for traces: [layers, heads, head_dim]
/// and [layers, heads], with the KV length each layer had.
struct TracedRow {
  std::vector<float> query;
  std::vector<float> lse;
  std::vector<std::int32_t> visible;  // per layer: keys the row could see
};

/// The state of one sequence: keys and values per layer, and which prompt tokens they belong to.
struct DecoderState {
  KvCache cache;
  /// Position the next token takes, per layer (they differ after pruning with compact positions).
  std::vector<std::int32_t> next_position;
  /// Per layer: an index into `survivors`; the cache slots 0 .. n-1 of the layer belong to the
  /// prompt positions survivors[index][0 .. n-1].
  std::vector<int> survivor_list;
  std::vector<std::vector<std::int32_t>> survivors;
};

struct PrefillInput {
  ConstTensorView embeddings;  // [new tokens, hidden] f32
  /// Tokens already in the cache, in every layer (a reused prefix of the same prompt).
  std::int64_t prefix = 0;
  const SequenceLayout* layout = nullptr;  // of the whole prompt, prefix included
  Policy* policy = nullptr;                // null: no pruning
  const PruningPlan* plan = nullptr;
  PositionMode positions = PositionMode::original;
};

class Decoder {
 public:
  /// `weights` reads below "model." (embed_tokens, layers.N, norm); `lm_head` is the view of the
  /// output embedding (of embed_tokens when tied).
  static Result<Decoder> load(Context& context, const DecoderConfig& config,
                              const WeightReader& weights, ConstTensorView lm_head,
                              LinearDType dtype);
  static Result<Decoder> random(Context& context, const DecoderConfig& config, LinearDType dtype,
                                std::uint64_t seed);

  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;
  ~Decoder();

  const DecoderConfig& config() const;
  DecoderState new_state() const;

  /// out: [ids, hidden] f32. Errors: usage when an id is outside the vocabulary.
  Status embed(Context& context, std::span<const std::int32_t> ids, TensorView out) const;

  /// Runs a prompt (or the rest of one) through all layers; pruning stages act here. logits: f32
  /// [vocabulary] of the last row. `traced`, when given, receives the last row's queries.
  Status prefill(Context& context, const PrefillInput& input, DecoderState& state,
                 TensorView logits, PruningRecord* record, TracedRow* traced) const;

  /// One more token.
  Status decode(Context& context, std::int32_t token, DecoderState& state, TensorView logits,
                TracedRow* traced) const;

  /// {rows, inputs, outputs} of every matrix product of a prefill of n tokens, and of one decode
  /// step, for the bench's floor.
  std::vector<std::array<std::int64_t, 3>> prefill_products(std::int64_t tokens) const;
  std::vector<std::array<std::int64_t, 3>> decode_products() const;
  /// Bytes of weights one decode step reads.
  std::size_t weight_bytes() const;

 private:
  struct Impl;
  explicit Decoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fovea
