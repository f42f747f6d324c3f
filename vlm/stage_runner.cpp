#include "vlm/stage_runner.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"

namespace fovea {

LayerStage::LayerStage(const SequenceLayout& layout, const LiveSequence& sequence,
                       const StageAttention* attention)
    : layout_(layout), sequence_(sequence), attention_(attention) {
  for (std::size_t row = 0; row < sequence.origin.size(); ++row) {
    const auto position = static_cast<std::size_t>(sequence.origin[row]);
    if (layout.kinds[position] == TokenKind::visual) {
      visual_rows_.push_back(static_cast<std::int32_t>(row));
      visual_ids_.push_back(layout.visual_ids[position]);
    } else if (layout.kinds[position] == TokenKind::text) {
      text_rows_.push_back(static_cast<std::int32_t>(row));
    }
  }
}

std::vector<std::int32_t> LayerStage::rows_of(RowSet set) const {
  const auto count = static_cast<std::int32_t>(sequence_.origin.size());
  switch (set) {
    case RowSet::last:
      return count > 0 ? std::vector<std::int32_t>{count - 1} : std::vector<std::int32_t>{};
    case RowSet::text:
      return text_rows_;
    case RowSet::visual:
      return visual_rows_;
    case RowSet::from_last_visual: {
      if (visual_rows_.empty()) return {};
      std::vector<std::int32_t> rows(static_cast<std::size_t>(count - visual_rows_.back()));
      std::iota(rows.begin(), rows.end(), visual_rows_.back());
      return rows;
    }
    case RowSet::class_token:
      return {};
  }
  return {};
}

std::int64_t LayerStage::row_count(RowSet rows) const {
  return static_cast<std::int64_t>(rows_of(rows).size());
}

Result<TensorView> LayerStage::scores(Context& context, const ScoreRequest& request) {
  if (attention_ == nullptr) {
    return make_error(ErrorCode::internal,
                      "a pruning stage asked for attention that its plan does not name");
  }
  const std::vector<std::int32_t> rows = rows_of(request.rows);
  const auto& columns = request.columns == ColumnSet::visual ? visual_rows_ : text_rows_;
  const TensorView& query = attention_->block.query;
  const TensorView& lse = attention_->block.lse;
  const std::int64_t heads = query.shape[1];
  const std::int64_t head_dim = query.shape[2];
  const auto row_count = static_cast<std::int64_t>(rows.size());
  const auto column_count = static_cast<std::int64_t>(columns.size());
  // Rows before these came from a snapshot, which keeps no queries.
  const auto first_row =
      static_cast<std::int32_t>(sequence_.origin.size()) - static_cast<std::int32_t>(query.rows());

  FOVEA_TRY(const TensorView picked,
            context.workspace.take(Shape{row_count, heads, head_dim}, DType::f32));
  FOVEA_TRY(const TensorView picked_lse,
            context.workspace.take(Shape{heads, row_count}, DType::f32));
  std::vector<std::int32_t> visible(rows.size());
  for (std::int64_t i = 0; i < row_count; ++i) {
    const std::int32_t row = rows[static_cast<std::size_t>(i)] - first_row;
    if (row < 0) {
      return make_error(ErrorCode::internal,
                        "a pruning stage asked for attention rows of a reused prefix");
    }
    std::memcpy(picked.row<float>(i), query.row<float>(row),
                static_cast<std::size_t>(heads * head_dim) * sizeof(float));
    for (std::int64_t head = 0; head < heads; ++head) {
      picked_lse.row<float>(head)[i] = lse.row<float>(head)[row];
    }
    visible[static_cast<std::size_t>(i)] = rows[static_cast<std::size_t>(i)] + 1;
  }

  Shape shape{column_count};
  if (request.row_reduction == Reduction::none) shape = Shape{row_count, column_count};
  if (request.head_reduction == Reduction::none) {
    shape = request.row_reduction == Reduction::none ? Shape{heads, row_count, column_count}
                                                     : Shape{heads, column_count};
  }
  FOVEA_TRY(const TensorView out, context.workspace.take(shape, DType::f32));
  ScoreArgs args;
  args.query = picked;
  args.lse = picked_lse;
  args.visible = visible;
  args.kv = attention_->kv;
  args.scale = attention_->scale;
  args.columns = columns;
  args.row_weights = request.row_weights;
  args.rows = request.row_reduction;
  args.heads = request.head_reduction;
  args.out = out;
  FOVEA_CHECK(attention_scores(context, args));
  return out;
}

Result<ConstTensorView> LayerStage::gather_hidden(Context& context,
                                                  std::span<const std::int32_t> rows) const {
  FOVEA_TRY(
      const TensorView out,
      context.workspace.take(
          Shape{static_cast<std::int64_t>(rows.size()), sequence_.hidden.shape[1]}, DType::f32));
  FOVEA_CHECK(gather_rows(context, sequence_.hidden, rows, out));
  return ConstTensorView(out);
}

Result<ConstTensorView> LayerStage::visual_hidden(Context& context) {
  return gather_hidden(context, visual_rows_);
}

Result<ConstTensorView> LayerStage::text_hidden(Context& context) {
  return gather_hidden(context, text_rows_);
}

namespace {

/// The selection with every optional part filled in, checked against what the stage saw.
struct Merges {
  std::vector<std::int32_t> offsets, sources;  // sources: rows of the sequence
  std::vector<float> weights;
};

Result<Merges> expand(const Selection& selection, std::span<const std::int32_t> visual_rows) {
  Merges merges;
  const std::int32_t* sources = selection.sources.as<std::int32_t>();
  const auto present = static_cast<std::int32_t>(visual_rows.size());
  merges.offsets.push_back(0);
  std::int32_t previous_first = -1;
  for (std::int64_t i = 0; i < selection.count; ++i) {
    const std::int32_t begin = selection.offsets.empty() ? static_cast<std::int32_t>(i)
                                                         : selection.offsets.as<std::int32_t>()[i];
    const std::int32_t end =
        selection.offsets.empty() ? begin + 1 : selection.offsets.as<std::int32_t>()[i + 1];
    for (std::int32_t s = begin; s < end; ++s) {
      if (sources[s] < 0 || sources[s] >= present) {
        return make_error(ErrorCode::internal, "a pruning method selected visual token " +
                                                   std::to_string(sources[s]) + " of " +
                                                   std::to_string(present));
      }
      merges.sources.push_back(visual_rows[static_cast<std::size_t>(sources[s])]);
      merges.weights.push_back(selection.weights.empty() ? 1.0f : selection.weights.as<float>()[s]);
    }
    if (end <= begin || sources[begin] <= previous_first) {
      return make_error(ErrorCode::internal, "a pruning method returned survivors out of order");
    }
    previous_first = sources[begin];
    merges.offsets.push_back(static_cast<std::int32_t>(merges.sources.size()));
  }
  return merges;
}

}  // namespace

Status apply_selection(Context& context, const Stage& stage, const LayerStage& view,
                       const Selection& selection, PositionMode mode, TensorView target,
                       LiveSequence& sequence, PruningRecord* record) {
  FOVEA_TRY(const Merges merges, expand(selection, view.visual_rows()));

  // One list of survivors over the whole sequence: text rows keep themselves; each visual survivor
  // stands where its first source stood.
  std::vector<std::int32_t> offsets{0}, sources, origin, positions;
  std::vector<float> weights;
  const auto push = [&](std::int32_t row, std::int32_t source, float weight, bool first) {
    sources.push_back(source);
    weights.push_back(weight);
    if (first) {
      origin.push_back(sequence.origin[static_cast<std::size_t>(row)]);
      positions.push_back(sequence.positions[static_cast<std::size_t>(row)]);
    }
  };
  std::size_t survivor = 0;
  for (std::size_t row = 0; row < sequence.origin.size(); ++row) {
    const auto prompt_position = static_cast<std::size_t>(sequence.origin[row]);
    if (view.layout().kinds[prompt_position] != TokenKind::visual) {
      push(static_cast<std::int32_t>(row), static_cast<std::int32_t>(row), 1.0f, true);
    } else if (survivor + 1 < merges.offsets.size() &&
               merges.sources[static_cast<std::size_t>(merges.offsets[survivor])] ==
                   static_cast<std::int32_t>(row)) {
      for (std::int32_t s = merges.offsets[survivor]; s < merges.offsets[survivor + 1]; ++s) {
        push(static_cast<std::int32_t>(row), merges.sources[static_cast<std::size_t>(s)],
             merges.weights[static_cast<std::size_t>(s)], s == merges.offsets[survivor]);
      }
      ++survivor;
    } else {
      continue;
    }
    offsets.push_back(static_cast<std::int32_t>(sources.size()));
  }

  const auto kept_rows = static_cast<std::int64_t>(origin.size());
  TensorView kept = target.slice(0, kept_rows);
  if (sources.size() == origin.size() && selection.weights.empty()) {
    FOVEA_CHECK(gather_rows(context, sequence.hidden, sources, kept));
  } else {
    FOVEA_CHECK(merge_rows(context, sequence.hidden, offsets, sources, weights, kept));
  }

  if (record != nullptr) {
    StageRecord entry;
    entry.when = stage.when;
    entry.layer = stage.layer;
    for (const std::int32_t position : origin) {
      const std::int32_t id = view.layout().visual_ids[static_cast<std::size_t>(position)];
      if (id >= 0) entry.kept.push_back(id);
    }
    if (!selection.offsets.empty()) {
      for (std::size_t i = 0; i + 1 < merges.offsets.size(); ++i) {
        std::vector<std::int32_t>& ids = entry.sources.emplace_back();
        for (std::int32_t s = merges.offsets[i]; s < merges.offsets[i + 1]; ++s) {
          const std::int32_t row = merges.sources[static_cast<std::size_t>(s)];
          ids.push_back(view.layout().visual_ids[static_cast<std::size_t>(
              sequence.origin[static_cast<std::size_t>(row)])]);
        }
      }
    }
    record->stages.push_back(std::move(entry));
  }

  if (mode == PositionMode::compact) std::iota(positions.begin(), positions.end(), 0);
  sequence.hidden = kept;
  sequence.origin = std::move(origin);
  sequence.positions = std::move(positions);
  return {};
}

}  // namespace fovea
