// The prompt's way through the layers, with pruning stages between them.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "vlm/decoder_impl.h"
#include "vlm/stage_runner.h"

namespace fovea {

namespace {

/// First layer whose input a stage can change.
int first_changed_layer(const Stage& stage) {
  switch (stage.when) {
    case Hook::embeddings:
    case Hook::vit_block:
      return 0;
    case Hook::before_layer:
    case Hook::after_attention:
      return stage.layer;
    case Hook::after_layer:
      return stage.layer + 1;
  }
  return 0;
}

/// True when the stage acts at the end of `layer`, while that layer's attention is at hand.
bool acts_after(const Stage& stage, int layer) {
  if (stage.when == Hook::after_layer) return stage.layer == layer;
  return stage.when == Hook::before_layer && stage.attention == AttentionSource::previous_layer &&
         stage.layer == layer + 1;
}

bool acts_before(const Stage& stage, int layer) {
  if (stage.when == Hook::embeddings) return layer == 0;
  return stage.when == Hook::before_layer && stage.attention == AttentionSource::none &&
         stage.layer == layer;
}

Status check_plan(const PruningPlan& plan, int layers) {
  for (const Stage& stage : plan.stages) {
    const bool hook_known = stage.when == Hook::embeddings || stage.when == Hook::before_layer ||
                            stage.when == Hook::after_layer;
    const bool source_known =
        stage.attention == AttentionSource::none ||
        (stage.attention == AttentionSource::this_layer && stage.when == Hook::after_layer) ||
        (stage.attention == AttentionSource::previous_layer && stage.when == Hook::before_layer &&
         stage.layer > 0);
    if (!hook_known || !source_known) {
      return make_error(ErrorCode::unsupported,
                        "the decoder does not offer the hook a pruning stage asks for");
    }
    if (stage.layer < 0 || stage.layer >= layers) {
      return make_error(ErrorCode::usage, "a pruning stage names layer " +
                                              std::to_string(stage.layer) + " of a model with " +
                                              std::to_string(layers) + " layers");
    }
  }
  return {};
}

}  // namespace

int Decoder::boundary(const PruningPlan* plan) const {
  int first = static_cast<int>(impl_->blocks.size());
  if (plan != nullptr) {
    for (const Stage& stage : plan->stages) first = std::min(first, first_changed_layer(stage));
  }
  return first;
}

namespace {

/// Everything one prefill carries from layer to layer.
class PrefillRun {
 public:
  PrefillRun(Context& context, const DecoderConfig& config, const PrefillInput& input,
             DecoderState& state, PruningRecord* record)
      : context_(context), config_(config), input_(input), state_(state), record_(record) {}

  Status start(int boundary);
  /// Puts the prefix's hidden states in front once the boundary is reached, and keeps them when
  /// asked.
  Status reach(int layer);
  Status run_stages_before(int layer);
  Status run_stages_after(int layer, const BlockAttention& attention);
  bool wants_attention(int layer) const;
  bool stages_after(int layer) const;
  void enter(int layer);

  LiveSequence sequence;

 private:
  Status run_stage(std::size_t index, const StageAttention* attention);
  /// Rotary positions of prompt tokens before any stage.
  std::vector<std::int32_t> positions_of(const std::vector<std::int32_t>& origin) const;
  bool has_plan() const { return input_.policy != nullptr && input_.plan != nullptr; }

  Context& context_;
  const DecoderConfig& config_;
  const PrefillInput& input_;
  DecoderState& state_;
  PruningRecord* record_;
  int boundary_ = 0;
  TensorView buffers_[2];  // hidden states before and after a stage
  int current_ = 0;
};

std::vector<std::int32_t> PrefillRun::positions_of(const std::vector<std::int32_t>& origin) const {
  if (input_.positions.empty()) return origin;
  std::vector<std::int32_t> positions;
  for (const std::int32_t token : origin) {
    positions.push_back(input_.positions[static_cast<std::size_t>(token)]);
  }
  return positions;
}

Status PrefillRun::start(int boundary) {
  boundary_ = boundary;
  const auto total = input_.layout->tokens();
  const std::int64_t prefix = input_.prefix != nullptr ? input_.prefix->tokens : 0;
  const auto positions = static_cast<std::int64_t>(input_.positions.size());
  if (input_.embeddings.rows() != total - prefix || input_.embeddings.rows() < 1 ||
      (positions != 0 && positions != total)) {
    return make_error(ErrorCode::internal, "the prompt's embeddings do not match its layout");
  }
  if (input_.prefix != nullptr && input_.prefix->boundary != boundary) {
    return make_error(ErrorCode::internal, "a prefix snapshot was taken for another pruning plan");
  }
  if (input_.prefix != nullptr) state_.cache = input_.prefix->cache;
  FOVEA_TRY(buffers_[0], context_.workspace.take(Shape{total, config_.hidden_size}, DType::f32));
  if (has_plan() || prefix > 0) {
    FOVEA_TRY(buffers_[1], context_.workspace.take(Shape{total, config_.hidden_size}, DType::f32));
  }
  // The new rows stand where they will stand once the prefix is put in front of them.
  sequence.hidden = buffers_[0].slice(prefix, total - prefix);
  FOVEA_CHECK(convert(input_.embeddings, sequence.hidden));
  sequence.origin.resize(static_cast<std::size_t>(total - prefix));
  std::iota(sequence.origin.begin(), sequence.origin.end(), static_cast<std::int32_t>(prefix));
  sequence.positions = positions_of(sequence.origin);
  state_.survivors.assign(1, std::vector<std::int32_t>(static_cast<std::size_t>(total)));
  std::iota(state_.survivors[0].begin(), state_.survivors[0].end(), 0);
  return {};
}

Status PrefillRun::reach(int layer) {
  if (layer != boundary_) return {};
  const auto total = input_.layout->tokens();
  const std::int64_t prefix = input_.prefix != nullptr ? input_.prefix->tokens : 0;
  const bool past_the_end = layer == static_cast<int>(config_.layers);
  if (prefix > 0 && !past_the_end) {
    FOVEA_CHECK(convert(input_.prefix->hidden.view(), buffers_[0].slice(0, prefix)));
    sequence.hidden = buffers_[0];
    sequence.origin.resize(static_cast<std::size_t>(total));
    std::iota(sequence.origin.begin(), sequence.origin.end(), 0);
    sequence.positions = positions_of(sequence.origin);
  }
  if (input_.capture != nullptr) {
    DecoderPrefix& capture = *input_.capture;
    capture.boundary = boundary_;
    capture.cache = state_.cache;
    for (int l = 0; l < state_.cache.layers(); ++l) {
      capture.cache.truncate(l, l < boundary_ ? static_cast<std::int32_t>(capture.tokens) : 0);
    }
    if (!past_the_end) {
      FOVEA_TRY(capture.hidden,
                Tensor::allocate(Shape{capture.tokens, config_.hidden_size}, DType::f32));
      FOVEA_CHECK(convert(buffers_[0].slice(0, capture.tokens), capture.hidden.view()));
    }
  }
  return {};
}

bool PrefillRun::wants_attention(int layer) const {
  return has_plan() && std::any_of(input_.plan->stages.begin(), input_.plan->stages.end(),
                                   [&](const Stage& stage) {
                                     return acts_after(stage, layer) &&
                                            stage.attention != AttentionSource::none;
                                   });
}

bool PrefillRun::stages_after(int layer) const {
  return has_plan() && std::any_of(input_.plan->stages.begin(), input_.plan->stages.end(),
                                   [&](const Stage& stage) { return acts_after(stage, layer); });
}

Status PrefillRun::run_stages_before(int layer) {
  if (!has_plan()) return {};
  for (std::size_t i = 0; i < input_.plan->stages.size(); ++i) {
    if (acts_before(input_.plan->stages[i], layer)) FOVEA_CHECK(run_stage(i, nullptr));
  }
  return {};
}

Status PrefillRun::run_stages_after(int layer, const BlockAttention& attention) {
  if (!has_plan()) return {};
  for (std::size_t i = 0; i < input_.plan->stages.size(); ++i) {
    const Stage& stage = input_.plan->stages[i];
    if (!acts_after(stage, layer)) continue;
    StageAttention view;
    view.block = attention;
    view.kv = state_.cache.view(layer);
    view.scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
    FOVEA_CHECK(run_stage(i, stage.attention == AttentionSource::none ? nullptr : &view));
  }
  return {};
}

Status PrefillRun::run_stage(std::size_t index, const StageAttention* attention) {
  const Stage& stage = input_.plan->stages[index];
  Workspace::Scope scope(context_.workspace);
  LayerStage view(*input_.layout, sequence, attention);
  Selection selection;
  FOVEA_CHECK(input_.policy->select(context_, static_cast<int>(index), view, selection));
  FOVEA_CHECK(apply_selection(context_, stage, view, selection, input_.plan->positions,
                              buffers_[1 - current_], sequence, record_));
  current_ = 1 - current_;
  state_.survivors.push_back(sequence.origin);
  return {};
}

void PrefillRun::enter(int layer) {
  const auto index = static_cast<std::size_t>(layer);
  state_.survivor_list[index] = static_cast<int>(state_.survivors.size()) - 1;
  state_.next_position[index] =
      *std::max_element(sequence.positions.begin(), sequence.positions.end()) + 1;
}

}  // namespace

Status Decoder::prefill(Context& context, const PrefillInput& input, DecoderState& state,
                        TensorView logits, PruningRecord* record, TracedRow* traced) const {
  const int layers = static_cast<int>(impl_->blocks.size());
  if (input.plan != nullptr) FOVEA_CHECK(check_plan(*input.plan, layers));
  Workspace::Scope scope(context.workspace);
  PrefillRun run(context, impl_->config, input, state, record);
  FOVEA_CHECK(run.start(boundary(input.plan)));
  FOVEA_CHECK(run.reach(0));

  for (int layer = 0; layer < layers; ++layer) {
    if (context.cancelled())
      return make_error(ErrorCode::cancelled, "stopped while reading the prompt");
    FOVEA_CHECK(run.run_stages_before(layer));
    run.enter(layer);
    Workspace::Scope layer_scope(context.workspace);
    const bool wanted = traced != nullptr || run.wants_attention(layer);
    const bool only_last = layer + 1 == layers && !run.stages_after(layer);
    BlockAttention attention;
    FOVEA_CHECK(run_block(context, impl_->config, impl_->blocks[static_cast<std::size_t>(layer)],
                          run.sequence.hidden, run.sequence.positions, state.cache, layer,
                          only_last, wanted ? &attention : nullptr));
    if (traced != nullptr) Impl::trace_row(attention, state.cache.length(layer), *traced);
    FOVEA_CHECK(run.reach(layer + 1));
    FOVEA_CHECK(run.run_stages_after(layer, attention));
  }
  return impl_->last_logits(context, run.sequence.hidden.slice(run.sequence.hidden.rows() - 1, 1),
                            logits);
}

}  // namespace fovea
