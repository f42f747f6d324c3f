#include "vlm/stage_runner.h"

#include <algorithm>
#include <numeric>

#include "kernels/copy.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/rows/rows.h"

namespace fovea {

std::vector<std::int32_t> rows_of(const SequenceLayout& layout, const LiveSequence& sequence,
                                  RowSet set, std::span<const std::int32_t> probes) {
  const auto count = static_cast<std::int32_t>(sequence.origin.size());
  if (set == RowSet::last) {
    return count > 0 ? std::vector<std::int32_t>{count - 1} : std::vector<std::int32_t>{};
  }
  std::vector<std::int32_t> rows;
  if (set == RowSet::class_token) return rows;
  if (set == RowSet::probes) {
    for (std::int32_t row = 0; row < count; ++row) {
      const std::int32_t position = sequence.origin[static_cast<std::size_t>(row)];
      if (std::binary_search(probes.begin(), probes.end(), position)) rows.push_back(row);
    }
    return rows;
  }
  const TokenKind kind = set == RowSet::text ? TokenKind::text : TokenKind::visual;
  for (std::int32_t row = 0; row < count; ++row) {
    const auto position = static_cast<std::size_t>(sequence.origin[static_cast<std::size_t>(row)]);
    if (layout.kinds[position] == kind) rows.push_back(row);
  }
  if (set == RowSet::from_last_visual && !rows.empty()) {
    const std::int32_t last = rows.back();
    rows.resize(static_cast<std::size_t>(count - last));
    std::iota(rows.begin(), rows.end(), last);
  }
  return rows;
}

namespace {

std::vector<std::int32_t> columns_of(const SequenceLayout& layout, const LiveSequence& sequence,
                                     ColumnSet set) {
  if (set == ColumnSet::all) {
    std::vector<std::int32_t> columns(sequence.origin.size());
    std::iota(columns.begin(), columns.end(), 0);
    return columns;
  }
  return rows_of(layout, sequence, set == ColumnSet::visual ? RowSet::visual : RowSet::text, {});
}

/// The part of `from` that belongs to `rows`; a copy only where it is not all of it.
Result<BlockAttention> pick(Context& context, const BlockAttention& from,
                            const std::vector<std::int32_t>& rows) {
  if (rows == from.slots) return from;
  BlockAttention picked;
  picked.slots = rows;
  const auto count = static_cast<std::int64_t>(rows.size());
  const Shape& shape = from.query.shape;
  FOVEA_TRY(picked.query, context.workspace.take(Shape{count, shape[1], shape[2]}, DType::f32));
  FOVEA_TRY(picked.lse, context.workspace.take(Shape{shape[1], count}, DType::f32));
  std::vector<std::int32_t> places;
  for (const std::int32_t row : rows) {
    const auto found = std::lower_bound(from.slots.begin(), from.slots.end(), row);
    if (found == from.slots.end() || *found != row) {
      return make_error(ErrorCode::internal,
                        "a pruning stage asked for attention rows that its plan does not name");
    }
    places.push_back(static_cast<std::int32_t>(found - from.slots.begin()));
  }
  TensorView given = from.query, chosen = picked.query;
  given.shape = Shape{given.rows(), given.inner_elements()};
  chosen.shape = Shape{count, chosen.inner_elements()};
  FOVEA_CHECK(gather_rows(context, given, places, chosen));
  FOVEA_CHECK(gather_columns(context, from.lse, places, picked.lse));
  return picked;
}

}  // namespace

LayerStage::LayerStage(Context& engine, const SequenceLayout& layout, const LiveSequence& sequence,
                       const StageAttention* attention, std::span<const std::int32_t> probes)
    : engine_(engine),
      layout_(layout),
      sequence_(sequence),
      attention_(attention),
      probes_(probes),
      visual_rows_(rows_of(layout, sequence, RowSet::visual, {})) {
  for (const std::int32_t row : visual_rows_) {
    const std::int32_t position = sequence.origin[static_cast<std::size_t>(row)];
    visual_ids_.push_back(layout.visual_ids[static_cast<std::size_t>(position)]);
  }
}

std::int64_t LayerStage::row_count(RowSet rows) const {
  return static_cast<std::int64_t>(rows_of(layout_, sequence_, rows, probes_).size());
}

std::vector<std::int32_t> LayerStage::positions(RowSet rows) const {
  std::vector<std::int32_t> positions = rows_of(layout_, sequence_, rows, probes_);
  for (std::int32_t& row : positions) row = sequence_.positions[static_cast<std::size_t>(row)];
  return positions;
}

Result<TensorView> LayerStage::scores(Context& context, const ScoreRequest& request) {
  if (attention_ == nullptr) {
    return make_error(ErrorCode::internal,
                      "a pruning stage asked for attention that its plan does not name");
  }
  const std::vector<std::int32_t> columns = columns_of(layout_, sequence_, request.columns);
  Context& where = engine_.on_cuda() ? engine_ : context;
  FOVEA_TRY(const BlockAttention picked,
            pick(where, attention_->block, rows_of(layout_, sequence_, request.rows, probes_)));
  std::vector<std::int32_t> visible = picked.slots;
  for (std::int32_t& keys : visible) ++keys;  // a row sees itself and all before it

  const std::int64_t heads = picked.query.shape[1];
  const auto row_count = static_cast<std::int64_t>(visible.size());
  const auto column_count = static_cast<std::int64_t>(columns.size());
  const Shape shape = request.shape(heads, row_count, column_count);
  FOVEA_TRY(const TensorView out, where.workspace.take(shape, DType::f32));
  ScoreArgs args;
  args.query = picked.query;
  args.lse = picked.lse;
  args.visible = visible;
  args.kv = attention_->kv;
  args.scale = attention_->scale;
  args.columns = columns;
  FOVEA_TRY(args.row_weights, to_device(where, request.row_weights));
  args.rows = request.row_reduction;
  args.heads = request.head_reduction;
  args.out = out;
  FOVEA_CHECK(attention_scores(where, args));
  if (!engine_.on_cuda() || context.on_cuda()) return out;
  FOVEA_TRY(const TensorView on_host, context.workspace.take(shape, DType::f32));
  FOVEA_CHECK(copy(engine_, out, on_host));
  return on_host;
}

Result<ConstTensorView> LayerStage::gather_hidden(Context& context,
                                                  std::span<const std::int32_t> rows) const {
  const auto count = static_cast<std::int64_t>(rows.size());
  const Shape shape{count, sequence_.hidden.shape[1]};
  if (!engine_.on_cuda() || context.on_cuda()) {
    if (context.on_cuda() && count > 0 && rows.back() - rows.front() + 1 == count) {
      return ConstTensorView(sequence_.hidden.slice(rows.front(), count));
    }
    FOVEA_TRY(const TensorView out, context.workspace.take(shape, DType::f32));
    FOVEA_CHECK(gather_rows(context, sequence_.hidden, rows, out));
    return ConstTensorView(out);
  }
  FOVEA_TRY(const TensorView out, context.workspace.take(shape, DType::f32));
  FOVEA_TRY(const TensorView there, engine_.workspace.take(shape, DType::f32));
  FOVEA_CHECK(gather_rows(engine_, sequence_.hidden, rows, there));
  FOVEA_CHECK(copy(engine_, there, out));
  return ConstTensorView(out);
}

Result<ConstTensorView> LayerStage::visual_hidden(Context& context) {
  return gather_hidden(context, visual_rows_);
}

Result<ConstTensorView> LayerStage::text_hidden(Context& context) {
  return gather_hidden(context, rows_of(layout_, sequence_, RowSet::text, {}));
}

namespace {

/// A selection with every optional part filled in and checked against what the stage saw.
struct Survivors {
  std::vector<std::int32_t> offsets{0}, sources;  // sources: rows of the sequence
  std::vector<float> weights;
  std::size_t in_place = 0;  // survivors before the appended ones

  std::size_t count() const { return offsets.size() - 1; }
  std::span<const std::int32_t> rows(std::size_t survivor) const {
    return std::span(sources).subspan(
        static_cast<std::size_t>(offsets[survivor]),
        static_cast<std::size_t>(offsets[survivor + 1] - offsets[survivor]));
  }
};

Error broken(const std::string& how) {
  return make_error(ErrorCode::internal, "a pruning method returned " + how);
}

Result<Survivors> expand(const Selection& selection, std::span<const std::int32_t> visual_rows) {
  Survivors survivors;
  const std::int32_t* sources = selection.sources.as<std::int32_t>();
  const auto present = static_cast<std::int32_t>(visual_rows.size());
  std::int64_t count = selection.count;
  if (!selection.device_count.empty()) {
    count = std::min<std::int64_t>(count, *selection.device_count.as<std::int32_t>());
  }
  if (selection.appended < 0 || selection.appended > count) {
    return broken("more appended tokens than survivors");
  }
  survivors.in_place = static_cast<std::size_t>(count - selection.appended);
  std::vector<bool> taken(visual_rows.size());
  std::int32_t previous_first = -1;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto index = static_cast<std::int32_t>(i);
    const std::int32_t begin =
        selection.offsets.empty() ? index : selection.offsets.as<std::int32_t>()[i];
    const std::int32_t end =
        selection.offsets.empty() ? index + 1 : selection.offsets.as<std::int32_t>()[i + 1];
    if (end <= begin) return broken("a survivor without a source");
    for (std::int32_t s = begin; s < end; ++s) {
      if (sources[s] < 0 || sources[s] >= present) {
        return broken("visual token " + std::to_string(sources[s]) + " of " +
                      std::to_string(present));
      }
      survivors.sources.push_back(visual_rows[static_cast<std::size_t>(sources[s])]);
      survivors.weights.push_back(selection.weights.empty() ? 1.0f
                                                            : selection.weights.as<float>()[s]);
    }
    const std::int32_t first = sources[begin];
    const bool in_order =
        i >= static_cast<std::int64_t>(survivors.in_place) || first > previous_first;
    if (!in_order) return broken("survivors out of order");
    if (taken[static_cast<std::size_t>(first)]) return broken("one token twice");
    taken[static_cast<std::size_t>(first)] = true;
    previous_first = first;
    survivors.offsets.push_back(static_cast<std::int32_t>(survivors.sources.size()));
  }
  return survivors;
}

}  // namespace

Error nothing_left() {
  return make_error(ErrorCode::usage, "nothing would be left of the prompt")
      .in_field("--prune-keep")
      .with_remedy("Keep at least one visual token, or put text beside the picture");
}

void list_tokens(const SequenceLayout& layout, const LiveSequence& sequence, StageRecord& entry) {
  for (const std::int32_t position : sequence.origin) {
    const std::int32_t id = layout.visual_ids[static_cast<std::size_t>(position)];
    if (id < 0) continue;
    const auto merged = sequence.merged.find(position);
    if (merged == sequence.merged.end()) {
      entry.kept.push_back(id);
    } else {
      entry.sources.push_back(merged->second);
    }
  }
  // The vision tower may have put merged tokens behind the others.
  std::sort(entry.kept.begin(), entry.kept.end());
}

namespace {

/// Builds the rows of the shortened sequence one after another.
class Assembly {
 public:
  Assembly(const SequenceLayout& layout, const LiveSequence& from) : layout_(layout), from_(from) {}

  /// The next row is the sum of `rows` by their shares; `merged` when it is no longer the first of
  /// them.
  void add(std::span<const std::int32_t> rows, std::span<const float> shares, bool merged) {
    sources.insert(sources.end(), rows.begin(), rows.end());
    weights.insert(weights.end(), shares.begin(), shares.end());
    offsets.push_back(static_cast<std::int32_t>(sources.size()));
    const auto first = static_cast<std::size_t>(rows[0]);
    const std::int32_t position = from_.origin[first];
    to.origin.push_back(position);
    to.positions.push_back(from_.positions[first]);
    if (!merged && !from_.merged.contains(position)) return;
    std::vector<std::int32_t>& ids = to.merged[position];
    for (const std::int32_t row : rows) append_ids(row, ids);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  }

  LiveSequence to;  // all but its hidden states
  std::vector<std::int32_t> offsets{0}, sources;
  std::vector<float> weights;

 private:
  void append_ids(std::int32_t row, std::vector<std::int32_t>& ids) const {
    const std::int32_t position = from_.origin[static_cast<std::size_t>(row)];
    if (const auto earlier = from_.merged.find(position); earlier != from_.merged.end()) {
      ids.insert(ids.end(), earlier->second.begin(), earlier->second.end());
    } else {
      ids.push_back(layout_.visual_ids[static_cast<std::size_t>(position)]);
    }
  }

  const SequenceLayout& layout_;
  const LiveSequence& from_;
};

/// Puts the sequence together as a selection leaves it, all but its hidden states.
Result<Assembly> assemble(const SequenceLayout& layout, std::span<const std::int32_t> visual_rows,
                          const LiveSequence& sequence, const Selection& selection,
                          PositionMode mode) {
  FOVEA_TRY(const Survivors survivors, expand(selection, visual_rows));
  Assembly assembly(layout, sequence);
  const auto add_survivor = [&](std::size_t i) {
    const auto rows = survivors.rows(i);
    const auto weights = std::span(survivors.weights)
                             .subspan(static_cast<std::size_t>(survivors.offsets[i]), rows.size());
    assembly.add(rows, weights, rows.size() > 1 || i >= survivors.in_place);
  };
  std::size_t next = 0;
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(sequence.origin.size()); ++row) {
    const auto position = static_cast<std::size_t>(sequence.origin[static_cast<std::size_t>(row)]);
    if (layout.kinds[position] != TokenKind::visual) {
      const float whole = 1.0f;
      assembly.add({&row, 1}, {&whole, 1}, false);
      continue;
    }
    if (next < survivors.in_place && survivors.rows(next)[0] == row) add_survivor(next++);
    if (row == visual_rows.back()) {
      while (next < survivors.count()) add_survivor(next++);
    }
  }
  if (mode == PositionMode::compact) {
    std::iota(assembly.to.positions.begin(), assembly.to.positions.end(), 0);
  }
  return assembly;
}

}  // namespace

Status name_survivors(const SequenceLayout& layout, const LiveSequence& before,
                      const Selection& selection, PositionMode mode, LiveSequence& sequence) {
  const std::vector<std::int32_t> visual = rows_of(layout, before, RowSet::visual, {});
  FOVEA_TRY(Assembly assembly, assemble(layout, visual, before, selection, mode));
  assembly.to.hidden = sequence.hidden;
  sequence = std::move(assembly.to);
  return {};
}

Status apply_selection(Context& context, const Stage& stage, const LayerStage& view,
                       const Selection& selection, PositionMode mode, TensorView target,
                       LiveSequence& sequence, PruningRecord* record) {
  const SequenceLayout& layout = view.layout();
  FOVEA_TRY(Assembly assembly, assemble(layout, view.visual_rows(), sequence, selection, mode));
  LiveSequence& shortened = assembly.to;
  if (shortened.origin.empty()) return nothing_left();

  shortened.hidden = target.slice(0, static_cast<std::int64_t>(shortened.origin.size()));
  const bool merges = assembly.sources.size() != shortened.origin.size();
  if (!merges && selection.weights.empty()) {
    FOVEA_CHECK(gather_rows(context, sequence.hidden, assembly.sources, shortened.hidden));
  } else {
    FOVEA_CHECK(merge_rows(context, sequence.hidden, assembly.offsets, assembly.sources,
                           assembly.weights, shortened.hidden));
  }
  sequence = std::move(shortened);
  if (record != nullptr) {
    StageRecord& entry = record->stages.emplace_back();
    entry.when = stage.when;
    entry.layer = stage.layer;
    list_tokens(layout, sequence, entry);
  }
  return {};
}

Result<std::vector<std::int32_t>> apply_bypass(const Stage& stage, const LayerStage& view,
                                               const Selection& selection,
                                               const LiveSequence& sequence,
                                               PruningRecord* record) {
  FOVEA_TRY(const Survivors survivors, expand(selection, view.visual_rows()));
  const SequenceLayout& layout = view.layout();
  if (survivors.sources.size() != survivors.count() || selection.appended > 0 ||
      !selection.weights.empty()) {
    return broken("merged tokens at a stage that drops nothing");
  }
  std::vector<std::int32_t> attending;
  LiveSequence taking_part;
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(sequence.origin.size()); ++row) {
    const std::int32_t position = sequence.origin[static_cast<std::size_t>(row)];
    const bool visual = layout.kinds[static_cast<std::size_t>(position)] == TokenKind::visual;
    const bool chosen = std::binary_search(survivors.sources.begin(), survivors.sources.end(), row);
    // The last row always attends: its prediction is what the run is for.
    const bool last = row + 1 == static_cast<std::int32_t>(sequence.origin.size());
    if (visual && !chosen && !last) continue;
    attending.push_back(row);
    taking_part.origin.push_back(position);
  }
  if (record != nullptr) {
    taking_part.merged = sequence.merged;
    StageRecord& entry = record->stages.emplace_back();
    entry.when = stage.when;
    entry.layer = stage.layer;
    entry.bypass = true;
    list_tokens(layout, taking_part, entry);
  }
  if (attending.size() == sequence.origin.size()) attending.clear();
  return attending;
}

}  // namespace fovea
