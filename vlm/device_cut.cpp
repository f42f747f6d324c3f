#include "vlm/device_cut.h"

#include <numeric>
#include <string>

#include "kernels/ops/cut/cut.h"
#include "kernels/ops/gather/gather.h"

namespace fovea {

bool DeviceCut::possible(const SequenceLayout& layout, const LiveSequence& sequence) {
  const std::vector<std::int32_t> rows = rows_of(layout, sequence, RowSet::visual, {});
  return !rows.empty() && sequence.merged.empty() &&
         static_cast<std::size_t>(rows.back() - rows.front()) + 1 == rows.size();
}

Result<DeviceCut> DeviceCut::make(Context& context, const LayerStage& view,
                                  const Selection& selection, PositionMode mode,
                                  ConstTensorView positions, TensorView new_positions,
                                  TensorView target, LiveSequence& sequence) {
  const auto visual = view.visual_rows();
  const auto present = static_cast<std::int64_t>(visual.size());
  const auto total = static_cast<std::int64_t>(sequence.origin.size());
  if (selection.count < 0 || selection.count > present || selection.appended != 0 ||
      !selection.offsets.empty() || !selection.weights.empty() || !selection.device_count.empty()) {
    return make_error(ErrorCode::internal, "a pruning method merged tokens on a GPU");
  }
  DeviceCut cut;
  cut.first_ = static_cast<std::size_t>(visual.front());
  cut.count_ = static_cast<std::size_t>(selection.count);
  const std::int64_t left = total - present + selection.count;
  if (left == 0) return nothing_left();
  FOVEA_TRY(cut.kept_, Arriving::start(context, selection.sources));

  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView rows, context.workspace.take(Shape{left}, DType::i32));
  FOVEA_CHECK(surviving_rows(context, selection.sources, visual.front(), present, rows));
  FOVEA_CHECK(gather_rows(context, sequence.hidden, ConstTensorView(rows), target.slice(0, left)));
  if (mode == PositionMode::original) {
    FOVEA_CHECK(pick_numbers(context, positions, rows, new_positions.slice(0, left)));
  }

  const auto drop = [&](std::vector<std::int32_t>& numbers, std::vector<std::int32_t>* before) {
    const auto begin = numbers.begin() + static_cast<std::ptrdiff_t>(cut.first_);
    const auto end = begin + static_cast<std::ptrdiff_t>(present);
    if (before != nullptr) before->assign(begin, end);
    numbers.erase(begin + static_cast<std::ptrdiff_t>(cut.count_), end);
  };
  const bool stay = mode == PositionMode::original;
  drop(sequence.origin, &cut.origin_);
  drop(sequence.positions, stay ? &cut.positions_ : nullptr);
  if (!stay) std::iota(sequence.positions.begin(), sequence.positions.end(), 0);
  sequence.hidden = target.slice(0, left);
  return cut;
}

Status DeviceCut::settle(LiveSequence& sequence) const {
  FOVEA_TRY(const auto kept, kept_.wait());
  std::int32_t previous = -1;
  for (std::size_t i = 0; i < count_; ++i) {
    const std::int32_t place = kept[i];
    if (place <= previous || static_cast<std::size_t>(place) >= origin_.size()) {
      return make_error(ErrorCode::internal, "a pruning method returned visual token " +
                                                 std::to_string(place) + " of " +
                                                 std::to_string(origin_.size()) + " on a GPU");
    }
    previous = place;
    sequence.origin[first_ + i] = origin_[static_cast<std::size_t>(place)];
    if (positions_.empty()) continue;
    sequence.positions[first_ + i] = positions_[static_cast<std::size_t>(place)];
  }
  return {};
}

}  // namespace fovea
