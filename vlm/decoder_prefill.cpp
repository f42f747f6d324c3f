// The prompt's way through the layers, with pruning stages between them.

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "kernels/copy.h"
#include "vlm/decoder_impl.h"
#include "vlm/prefill_run.h"

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

/// The layer whose run leaves the attention that a stage reads, or -1.
int attention_layer(const Stage& stage) {
  if (stage.attention == AttentionSource::this_layer) return stage.layer;
  return stage.attention == AttentionSource::previous_layer ? stage.layer - 1 : -1;
}

bool acts(const Stage& stage, Moment moment, int layer) {
  switch (stage.when) {
    case Hook::embeddings:
      return moment == Moment::before && layer == 0;
    case Hook::vit_block:
      return false;
    case Hook::before_layer:
      // At the end of the layer before, while its attention is at hand.
      if (stage.attention == AttentionSource::previous_layer) {
        return moment == Moment::after && layer == stage.layer - 1;
      }
      return moment == (stage.bypass ? Moment::bypass : Moment::before) && layer == stage.layer;
    case Hook::after_attention:
      return moment == Moment::after_attention && layer == stage.layer;
    case Hook::after_layer:
      return moment == Moment::after && layer == stage.layer;
  }
  return false;
}

bool offers(Hook when, AttentionSource attention, bool bypass) {
  if (bypass) return when == Hook::before_layer && attention == AttentionSource::preview;
  switch (when) {
    case Hook::embeddings:
      return attention == AttentionSource::none;
    case Hook::vit_block:
      return false;
    case Hook::before_layer:
      return attention != AttentionSource::this_layer;
    case Hook::after_attention:
    case Hook::after_layer:
      return attention == AttentionSource::none || attention == AttentionSource::this_layer;
  }
  return false;
}

}  // namespace

Status check_plan(const PruningPlan& plan, int layers) {
  int last_read = -1;
  for (const Stage& stage : plan.stages) {
    if (!offers(stage.when, stage.attention, stage.bypass)) {
      return make_error(ErrorCode::unsupported,
                        "the decoder does not offer the hook a pruning stage asks for");
    }
    const int first = stage.attention == AttentionSource::previous_layer ? 1 : 0;
    if (stage.layer < first || stage.layer >= layers) {
      return make_error(ErrorCode::usage, "a pruning stage names layer " +
                                              std::to_string(stage.layer) + " of a model with " +
                                              std::to_string(layers) + " layers");
    }
    // A cut moves the rows away from the keys of the attention it read.
    const int read = attention_layer(stage);
    if (read >= 0 && read == last_read) {
      return make_error(ErrorCode::unsupported,
                        "two pruning stages read the attention of layer " + std::to_string(read));
    }
    last_read = std::max(last_read, read);
  }
  return {};
}

int Decoder::boundary(const PruningPlan* plan) const {
  int first = static_cast<int>(impl_->blocks.size());
  if (plan != nullptr) {
    for (const Stage& stage : plan->stages) first = std::min(first, first_changed_layer(stage));
  }
  return first;
}

namespace {

/// Both ascending lists in one, without repetition.
std::vector<std::int32_t> joined(const std::vector<std::int32_t>& a,
                                 const std::vector<std::int32_t>& b) {
  std::vector<std::int32_t> both;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

}  // namespace

Result<ConstTensorView> PrefillRun::positions() {
  if (!context_.on_cuda()) return i32_view(sequence.positions);
  const TensorView there =
      positions_[0].slice(0, static_cast<std::int64_t>(sequence.positions.size()));
  if (uploaded_ != sequence.positions) {
    FOVEA_CHECK(copy(context_, i32_view(sequence.positions), there));
    uploaded_ = sequence.positions;
  }
  return ConstTensorView(there);
}

std::vector<std::int32_t> PrefillRun::positions_of(const std::vector<std::int32_t>& origin) const {
  if (input_.positions.empty()) return origin;
  std::vector<std::int32_t> positions;
  for (const std::int32_t token : origin) {
    positions.push_back(input_.positions[static_cast<std::size_t>(token)]);
  }
  return positions;
}

Status PrefillRun::start(int boundary, TensorView room) {
  boundary_ = boundary;
  const auto total = input_.layout->tokens();
  const std::int64_t prefix = input_.prefix != nullptr ? input_.prefix->tokens : 0;
  const auto positions = static_cast<std::int64_t>(input_.positions.size());
  const std::int64_t given = input_.embeddings.rows();
  const bool whole = given == total;
  const bool reads = !stages().empty() && input_.plan->reads_embeddings;
  if ((!whole && (reads || given != total - prefix)) || total - prefix < 1 ||
      (positions != 0 && positions != total)) {
    return make_error(ErrorCode::internal, "the prompt's embeddings do not match its layout");
  }
  if (input_.prefix != nullptr && input_.prefix->boundary != boundary) {
    return make_error(ErrorCode::internal, "a prefix snapshot was taken for another pruning plan");
  }
  if (input_.observer != nullptr && !input_.observer->prompt_rows().empty() &&
      input_.observer->prompt_rows().front() < prefix) {
    return make_error(ErrorCode::internal, "an observer wants rows of a reused prefix");
  }
  if (input_.prefix != nullptr) state_.cache = input_.prefix->cache;
  buffers_[0] = room;
  if (room.empty()) {
    FOVEA_TRY(buffers_[0], context_.workspace.take(Shape{total, config_.hidden_size}, DType::f32));
  }
  if (room.empty() && (!stages().empty() || prefix > 0)) {
    FOVEA_TRY(buffers_[1], context_.workspace.take(Shape{total, config_.hidden_size}, DType::f32));
  }
  for (TensorView& buffer : positions_) {
    FOVEA_TRY(buffer, context_.workspace.take(Shape{total}, DType::i32));
  }
  end_position_ = input_.positions.empty()
                      ? static_cast<std::int32_t>(total)
                      : *std::max_element(input_.positions.begin(), input_.positions.end()) + 1;
  if (reads) FOVEA_CHECK(read_embeddings());
  // The new rows stand where they will stand once the prefix is put in front of them.
  sequence.hidden = buffers_[0].slice(prefix, total - prefix);
  FOVEA_CHECK(convert(context_, input_.embeddings.slice(whole ? prefix : 0, total - prefix),
                      sequence.hidden));
  sequence.origin.resize(static_cast<std::size_t>(total - prefix));
  std::iota(sequence.origin.begin(), sequence.origin.end(), static_cast<std::int32_t>(prefix));
  sequence.positions = positions_of(sequence.origin);
  sequence.merged = input_.layout->merged;
  state_.survivors.assign(1, std::vector<std::int32_t>(static_cast<std::size_t>(total)));
  std::iota(state_.survivors[0].begin(), state_.survivors[0].end(), 0);
  return {};
}

Status PrefillRun::read_embeddings() {
  Workspace::Scope scope(context_.workspace);
  LiveSequence embedded;
  embedded.hidden = buffers_[0];
  FOVEA_CHECK(convert(context_, input_.embeddings, embedded.hidden));
  embedded.origin.resize(static_cast<std::size_t>(input_.layout->tokens()));
  std::iota(embedded.origin.begin(), embedded.origin.end(), 0);
  embedded.positions = positions_of(embedded.origin);
  LayerStage view(context_, *input_.layout, embedded, nullptr, {});
  Workspace::Scope host_scope(context_.host().workspace);
  const bool there = context_.on_cuda() && input_.policy->selects_on_device(*input_.layout);
  return input_.policy->read_embeddings(there ? context_ : context_.host(), view);
}

Status PrefillRun::reach(int layer) {
  if (layer != boundary_) return {};
  const auto total = input_.layout->tokens();
  const std::int64_t prefix = input_.prefix != nullptr ? input_.prefix->tokens : 0;
  const bool past_the_end = layer == static_cast<int>(config_.layers);
  if (prefix > 0 && !past_the_end) {
    FOVEA_CHECK(convert(context_, input_.prefix->hidden.view(), buffers_[0].slice(0, prefix)));
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
      FOVEA_TRY(capture.hidden, Tensor::allocate(Shape{capture.tokens, config_.hidden_size},
                                                 DType::f32, context_.device));
      FOVEA_CHECK(convert(context_, buffers_[0].slice(0, capture.tokens), capture.hidden.view()));
    }
  }
  return {};
}

Result<std::vector<std::int32_t>> PrefillRun::wanted_slots(int layer, bool last_row) {
  const bool read = std::any_of(stages().begin(), stages().end(), [&](const Stage& stage) {
    return attention_layer(stage) == layer;
  });
  if (read && unsettled_ && !unsettled_->cut.places_known()) FOVEA_CHECK(settle());
  std::vector<std::int32_t> rows;
  if (last_row) rows = rows_of(*input_.layout, sequence, RowSet::last, {});
  for (const Stage& stage : stages()) {
    if (attention_layer(stage) == layer) rows = joined(rows, stage_rows(stage));
  }
  if (input_.observer != nullptr) {
    rows = joined(
        rows, rows_of(*input_.layout, sequence, RowSet::probes, input_.observer->prompt_rows()));
  }
  for (std::int32_t& row : rows) row += state_.cache.length(layer);
  return rows;
}

std::vector<std::int32_t> PrefillRun::stage_rows(const Stage& stage) const {
  std::vector<std::int32_t> rows;
  for (const RowSet set : stage.rows) {
    rows = joined(rows, rows_of(*input_.layout, sequence, set, stage.probes));
  }
  return rows;
}

bool PrefillRun::stages_after(int layer) const {
  return std::any_of(stages().begin(), stages().end(), [&](const Stage& stage) {
    return acts(stage, Moment::after_attention, layer) || acts(stage, Moment::after, layer);
  });
}

std::int64_t PrefillRun::rows_past_the_end() const {
  std::int64_t needed =
      std::max<std::int64_t>(1, input_.last_hidden.empty() ? 0 : input_.last_hidden.rows());
  if (input_.observer != nullptr && !input_.observer->prompt_rows().empty()) {
    const auto first = std::lower_bound(sequence.origin.begin(), sequence.origin.end(),
                                        input_.observer->prompt_rows().front());
    needed = std::max<std::int64_t>(needed, sequence.origin.end() - first);
  }
  return needed;
}

StageAttention PrefillRun::at_layer(const BlockAttention& block, const KvView& kv) const {
  return {block, kv, attention_scale(config_)};
}

Result<BlockAttention> PrefillRun::preview(const Stage& stage,
                                           const BlockProjection& projection) const {
  FOVEA_TRY(BlockAttention ahead, BlockAttention::reserve(context_, config_, stage_rows(stage)));
  FOVEA_CHECK(preview_block(context_, config_, projection, ahead));
  return ahead;
}

std::vector<std::size_t> PrefillRun::acting(Moment moment, int layer) const {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < stages().size(); ++i) {
    if (acts(stages()[i], moment, layer)) found.push_back(i);
  }
  return found;
}

Status PrefillRun::act_before(std::size_t index, const DecoderBlock& block) {
  const Stage& stage = stages()[index];
  FOVEA_TRY(const StageStart start, begin_stage(index));
  if (stage.attention == AttentionSource::none) return run_stage(index, nullptr, start);
  Workspace::Scope scope(context_.workspace);
  FOVEA_TRY(const ConstTensorView places, positions());
  FOVEA_TRY(const BlockProjection projection,
            project_block(context_, config_, block, sequence.hidden, places));
  FOVEA_TRY(const BlockAttention ahead, preview(stage, projection));
  FOVEA_TRY(const ProjectedKeys keys, ProjectedKeys::create(context_, projection));
  const StageAttention attention = at_layer(ahead, keys.view());
  return run_stage(index, &attention, start);
}

Status PrefillRun::act(std::size_t index, int layer, const BlockAttention* attention) {
  FOVEA_TRY(const StageStart start, begin_stage(index));
  if (stages()[index].attention == AttentionSource::none) return run_stage(index, nullptr, start);
  const StageAttention view = at_layer(*attention, state_.cache.view(layer));
  return run_stage(index, &view, start);
}

Status PrefillRun::run_stages_before(int layer, const DecoderBlock& block) {
  for (const std::size_t i : acting(Moment::before, layer)) FOVEA_CHECK(act_before(i, block));
  return {};
}

Status PrefillRun::run_stages(Moment moment, int layer, const BlockAttention* attention) {
  for (const std::size_t i : acting(moment, layer)) FOVEA_CHECK(act(i, layer, attention));
  return {};
}

void PrefillRun::move_to(TensorView target) {
  current_ = 0;
  buffers_[1] = target;
}

Result<std::vector<std::int32_t>> PrefillRun::attending_rows(int layer,
                                                             const BlockProjection& projection) {
  for (std::size_t i = 0; i < stages().size(); ++i) {
    const Stage& stage = stages()[i];
    if (!acts(stage, Moment::bypass, layer)) continue;
    FOVEA_TRY(const StageStart start, begin_stage(i));
    Workspace::Scope scope(context_.workspace);
    Workspace::Scope host_scope(context_.host().workspace);
    FOVEA_TRY(const BlockAttention ahead, preview(stage, projection));
    FOVEA_TRY(const ProjectedKeys keys, ProjectedKeys::create(context_, projection));
    const StageAttention attention = at_layer(ahead, keys.view());
    LayerStage view(context_, *input_.layout, sequence, &attention, stage.probes);
    FOVEA_TRY(Selection selection, select(i, view, start));
    double select_ms = 0;
    if (record_ != nullptr && start.on_device) {
      FOVEA_TRY(const Milestone end, Milestone::mark(context_));
      FOVEA_TRY(select_ms, end.ms_since(start.there));
    }
    FOVEA_CHECK(fetch_selection(selection));
    if (!start.on_device) select_ms = start.watch.elapsed_ms();
    FOVEA_TRY(auto attending, apply_bypass(stage, view, selection, sequence, record_));
    if (record_ != nullptr) record_->stages.back().select_ms = select_ms;
    return attending;
  }
  return std::vector<std::int32_t>{};
}

Result<Selection> PrefillRun::select(std::size_t index, LayerStage& view, const StageStart& start) {
  Selection selection;
  Context& where = start.on_device ? context_ : context_.host();
  FOVEA_CHECK(input_.policy->select(where, static_cast<int>(index), view, selection));
  return selection;
}

Status PrefillRun::fetch_selection(Selection& selection) {
  if (selection.sources.device == Device{}) return {};
  FOVEA_TRY(const Arriving sources, Arriving::start(context_, selection.sources));
  FOVEA_TRY(const Arriving count, Arriving::start(context_, selection.device_count));
  for (const auto& [part, arriving] : {std::pair{&Selection::sources, &sources},
                                       {&Selection::device_count, &count}}) {
    FOVEA_TRY(const auto numbers, arriving->wait());
    TensorView& view = selection.*part;
    FOVEA_TRY(view, context_.host().workspace.take(view.shape, DType::i32));
    std::copy(numbers.begin(), numbers.end(), view.as<std::int32_t>());
  }
  return {};
}

Result<PrefillRun::StageStart> PrefillRun::begin_stage(std::size_t index) {
  FOVEA_CHECK(settle());
  const Stage& stage = stages()[index];
  StageStart start;
  start.on_device = context_.on_cuda() && (stage.bypass || !stage.dynamic_count) &&
                    input_.policy->selects_on_device(*input_.layout);
  if (record_ == nullptr) return start;
  if (start.on_device) {
    FOVEA_TRY(start.there, Milestone::mark(context_));
  } else {
    // So that a stage's time is its own, not that of layers a GPU still works on.
    FOVEA_CHECK(synchronize(context_));
  }
  start.watch = Stopwatch();
  return start;
}

Status PrefillRun::run_stage(std::size_t index, const StageAttention* attention,
                             const StageStart& start) {
  const Stage& stage = stages()[index];
  Workspace::Scope scope(context_.workspace);
  Workspace::Scope host_scope(context_.host().workspace);
  LayerStage view(context_, *input_.layout, sequence, attention, stage.probes);
  if (start.on_device) {
    FOVEA_CHECK(cut_on_device(index, view, start));
  } else {
    FOVEA_TRY(const Selection selection, select(index, view, start));
    const double select_ms = start.watch.elapsed_ms();
    FOVEA_CHECK(apply_selection(context_, stage, view, selection, input_.plan->positions,
                                buffers_[1 - current_], sequence, record_));
    if (record_ != nullptr) record_->stages.back().select_ms = select_ms;
  }
  current_ = 1 - current_;
  state_.survivors.push_back(sequence.origin);
  // An observer is told of every layer who is there.
  return input_.observer != nullptr ? settle() : Status{};
}

Status PrefillRun::cut_on_device(std::size_t index, LayerStage& view, const StageStart& start) {
  const Stage& stage = stages()[index];
  Unsettled unsettled;
  FOVEA_TRY(const Selection selection, select(index, view, start));
  if (record_ != nullptr) {
    unsettled.start = start.there;
    FOVEA_TRY(unsettled.end, Milestone::mark(context_));
    unsettled.record = record_->stages.size();
    StageRecord& entry = record_->stages.emplace_back();
    entry.when = stage.when;
    entry.layer = stage.layer;
  }
  const PositionMode mode = input_.plan->positions;
  FOVEA_TRY(const ConstTensorView places, positions());
  FOVEA_TRY(unsettled.cut, DeviceCut::make(context_, view, selection, mode, places, positions_[1],
                                           buffers_[1 - current_], sequence));
  if (mode == PositionMode::original) {
    std::swap(positions_[0], positions_[1]);
    uploaded_ = sequence.positions;
  }
  unsettled_ = std::move(unsettled);
  return {};
}

Status PrefillRun::settle() {
  if (!unsettled_) return {};
  const Unsettled unsettled = *std::exchange(unsettled_, std::nullopt);
  const bool there = uploaded_ == sequence.positions;
  FOVEA_CHECK(unsettled.cut.settle(*input_.layout, sequence));
  if (there) uploaded_ = sequence.positions;
  state_.survivors.back() = sequence.origin;
  if (record_ == nullptr) return {};
  StageRecord& entry = record_->stages[unsettled.record];
  list_tokens(*input_.layout, sequence, entry);
  FOVEA_TRY(entry.select_ms, unsettled.end.ms_since(unsettled.start));
  return {};
}

void PrefillRun::enter(int layer) {
  const auto index = static_cast<std::size_t>(layer);
  state_.survivor_list[index] = static_cast<int>(state_.survivors.size()) - 1;
  // With original positions an answer goes on from the whole prompt, whatever was dropped.
  const bool compact = !stages().empty() && input_.plan->positions == PositionMode::compact;
  state_.next_position[index] = compact && layer >= boundary_
                                    ? static_cast<std::int32_t>(sequence.origin.size())
                                    : end_position_;
}

Status Decoder::prefill(Context& context, const PrefillInput& input, DecoderState& state,
                        TensorView logits, PruningRecord* record, TracedRow* traced) const {
  const DecoderConfig& config = impl_->config;
  const int layers = static_cast<int>(impl_->blocks.size());
  if (input.plan != nullptr) FOVEA_CHECK(check_plan(*input.plan, layers));
  Workspace::Scope scope(context.workspace);
  PrefillRun run(context, config, input, state, record);
  FOVEA_CHECK(run.start(boundary(input.plan)));
  FOVEA_CHECK(run.reach(0));

  for (int layer = 0; layer < layers; ++layer) {
    if (context.cancelled())
      return make_error(ErrorCode::cancelled, "stopped while reading the prompt");
    const DecoderBlock& block = impl_->blocks[static_cast<std::size_t>(layer)];
    FOVEA_CHECK(run.run_stages_before(layer, block));
    run.enter(layer);
    Workspace::Scope layer_scope(context.workspace);
    BlockAttention attention;
    FOVEA_TRY(auto slots, run.wanted_slots(layer, traced != nullptr));
    if (!slots.empty()) {
      FOVEA_TRY(attention, BlockAttention::reserve(context, config, std::move(slots)));
    }
    AttendOptions options;
    if (layer + 1 == layers && !run.stages_after(layer)) {
      options.last_rows = run.rows_past_the_end();
    }
    options.kept = attention.slots.empty() ? nullptr : &attention;
    std::vector<std::int32_t> attending;
    {
      Workspace::Scope scratch(context.workspace);
      FOVEA_TRY(const ConstTensorView positions, run.positions());
      FOVEA_TRY(const BlockProjection projection,
                project_block(context, config, block, run.sequence.hidden, positions));
      FOVEA_TRY(attending, run.attending_rows(layer, projection));
      if (!attending.empty() && (input.observer != nullptr || !input.last_hidden.empty())) {
        return make_error(ErrorCode::internal,
                          "rows that bypass an attention cannot be observed or handed out");
      }
      options.attending = attending;
      FOVEA_CHECK(attend_block(context, config, block, projection, run.sequence.hidden, state.cache,
                               layer, options));
    }
    if (traced != nullptr) {
      FOVEA_CHECK(
          Impl::trace_row(context, attention, state.cache.length(layer), attending, *traced));
    }
    FOVEA_CHECK(run.run_stages(Moment::after_attention, layer, &attention));
    if (input.observer != nullptr) {
      FOVEA_CHECK(impl_->show(context, state, layer, attention, *input.observer));
    }
    const TensorView hidden = run.sequence.hidden;
    const std::int64_t rows =
        options.last_rows > 0 ? std::min(options.last_rows, hidden.rows()) : hidden.rows();
    FOVEA_CHECK(run_mlp(context, config, block, hidden.slice(hidden.rows() - rows, rows)));
    FOVEA_CHECK(run.reach(layer + 1));
    FOVEA_CHECK(run.run_stages(Moment::after, layer, &attention));
  }
  const TensorView hidden = run.sequence.hidden;
  if (!input.last_hidden.empty()) {
    const std::int64_t rows = input.last_hidden.rows();
    if (rows > hidden.rows()) {
      return make_error(ErrorCode::internal, "more rows are wanted than the prompt has");
    }
    FOVEA_CHECK(convert(context, hidden.slice(hidden.rows() - rows, rows), input.last_hidden));
  }
  if (!logits.empty()) {
    FOVEA_CHECK(this->logits(context, hidden.slice(hidden.rows() - 1, 1), logits));
  }
  return run.settle();
}

}  // namespace fovea
