#pragma once
// The Llama decoder: one loop over layers, between which pruning policies act. KV length and
// positions differ per layer.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/draw/draw.h"
#include "kernels/weights/weight_reader.h"
#include "pruning/accounting.h"
#include "pruning/policy.h"
#include "vlm/attention_observer.h"
#include "vlm/kv_cache.h"
#include "vlm/llava_config.h"

namespace fovea {

/// Query rows and lse of one run of the decoder's last row, for traces: [layers, heads, head_dim]
/// and [layers, heads], with the KV length each layer had.
struct TracedRow {
  std::vector<float> query;
  std::vector<float> lse;
  std::vector<std::int32_t> visible;  // per layer: keys the row could see
  /// Per layer: keys that the row took part with where others bypassed the attention; empty: all.
  std::vector<std::vector<std::int32_t>> attending;
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

/// What a later question about the same pictures can resume from: the keys and values of the
/// layers before `boundary` for the first `tokens` prompt tokens and, unless the boundary is past
/// the last layer, their hidden states there. Pruning stages act at or after the boundary, so what
/// is kept here is the same for every question.
struct DecoderPrefix {
  std::int64_t tokens = 0;
  int boundary = 0;  // layers [0, boundary) are in the cache
  KvCache cache;
  Tensor hidden;  // [tokens, hidden] f32 entering layer `boundary`; empty when boundary == layers
};

struct PrefillInput {
  /// [prompt tokens, hidden] f32, or without the prefix's unless the plan reads embeddings.
  ConstTensorView embeddings;
  const SequenceLayout* layout = nullptr;  // of the whole prompt, prefix included
  /// Rotary position of each prompt token before any stage; empty: 0 .. n-1. They may leave gaps
  /// and need not ascend.
  std::span<const std::int32_t> positions;
  Policy* policy = nullptr;               // null: no pruning
  const PruningPlan* plan = nullptr;      // of that policy
  const DecoderPrefix* prefix = nullptr;  // null: start from nothing
  /// When set, `capture->tokens` says for how many leading prompt tokens a prefix shall be kept
  /// (at least the resumed prefix's); boundary, cache and hidden are filled.
  DecoderPrefix* capture = nullptr;
  /// Sees the attention of its rows at every layer; none of them may lie in `prefix`, and no stage
  /// may let tokens bypass a layer.
  AttentionObserver* observer = nullptr;
  /// When set, [n, hidden] f32: receives the hidden states with which the last n rows leave the
  /// last layer (see logits()). No stage may follow that layer.
  TensorView last_hidden;
};

/// One of several prompts that are read side by side.
struct BatchPrompt {
  PrefillInput input;               // without prefix, capture, observer and last_hidden
  DecoderState* state = nullptr;    // new
  PruningRecord* record = nullptr;  // may stay null
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

  /// Runs a prompt (or the rest of one) through all layers; pruning stages act here. `state` must
  /// be new. logits: f32 [1, vocabulary] of the last row, or empty when nobody asks. `record` and
  /// `traced` may be null; `traced` receives the last row's queries.
  Status prefill(Context& context, const PrefillInput& input, DecoderState& state,
                 TensorView logits, PruningRecord* record, TracedRow* traced) const;

  /// Whether prompts of this plan may stand beside others: no token bypasses a layer. Null: they may.
  static bool reads_beside_others(const PruningPlan* plan);
  /// prefill() of several prompts at once: their rows share every product, each keeps positions,
  /// lengths and cuts of its own, and a policy that no other of them uses. One alone takes
  /// prefill()'s way, bit for bit; beside others a product may round differently. logits: f32
  /// [prompts, vocabulary]. Errors: those of prefill(), of whichever prompt; unsupported for plans
  /// that do not read beside others.
  Status prefill_batch(Context& context, std::span<const BatchPrompt> prompts,
                       TensorView logits) const;

  /// First layer whose input depends on pruning: layers before it can be resumed from a prefix.
  int boundary(const PruningPlan* plan) const;

  /// One more token. logits: f32 [1, vocabulary].
  Status decode(Context& context, std::int32_t token, DecoderState& state, TensorView logits,
                TracedRow* traced, AttentionObserver* observer = nullptr) const;

  /// Final norm and output embedding of rows that left the last layer: [n, hidden] f32 to f32 [n,
  /// vocabulary].
  Status logits(Context& context, ConstTensorView hidden, TensorView out) const;

  /// {rows, inputs, outputs} of every matrix product of a prefill of n tokens, and of one decode
  /// step, for the bench's floor.
  std::vector<std::array<std::int64_t, 3>> prefill_products(std::int64_t tokens) const;
  /// The same of a pruned prefill. entering: tokens that enter each layer, one number a layer.
  std::vector<std::array<std::int64_t, 3>> prefill_products(
      std::span<const std::int64_t> entering) const;
  std::vector<std::array<std::int64_t, 3>> decode_products() const;
  /// Bytes of weights one decode step reads.
  std::size_t weight_bytes() const;

 private:
  friend class DecoderBatch;
  struct Impl;
  Status check_step(const Context& context, std::int32_t token) const;

  // On a GPU, when nobody watches.
  friend class DecodeStream;
  struct StepStart {
    /// What the step begins with: a token, or what the step ordered just before it, of the number
    /// `after`, chose for the same sequence.
    std::optional<std::int32_t> token;
    std::int64_t after = 0;
    std::optional<Draw> draw = {};  // how it chooses; none: the largest logit
  };
  /// Orders one step without waiting for it, and returns its number in this context. Where it fails
  /// the state is as before, but for spare room.
  Result<std::int64_t> order_step(Context& context, const StepStart& start,
                                  DecoderState& state) const;
  /// What a step chose, once it is done; -1 where its logits have no largest.
  Result<std::int32_t> chosen_by(Context& context, std::int64_t number) const;
  Status replay(Context& context, std::int32_t token, DecoderState& state, TensorView logits) const;

  explicit Decoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fovea
