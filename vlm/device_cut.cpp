#include "vlm/device_cut.h"

#include <algorithm>
#include <numeric>

#include "kernels/ops/cut/cut.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/survivors/survivors.h"

namespace fovea {

namespace {

/// Borrows numbers of the host.
TensorView borrowed(std::span<const std::int32_t> numbers) {
  // Whoever reads a selection writes nothing into it.
  auto* const data = const_cast<std::int32_t*>(numbers.data());
  return {reinterpret_cast<std::byte*>(data), DType::i32,
          Shape{static_cast<std::int64_t>(numbers.size())}};
}

/// The rows that stay, in `target`; answers with what each was, or its first source.
Result<TensorView> move_rows(Context& context, const Selection& selection,
                             std::span<const std::int32_t> visual, bool side_by_side,
                             ConstTensorView hidden, TensorView target) {
  const std::int64_t left = target.rows();
  FOVEA_TRY(const TensorView firsts, context.workspace.take(Shape{left}, DType::i32));
  const bool merges = !selection.offsets.empty() || !selection.weights.empty();
  if (!merges && side_by_side) {
    FOVEA_CHECK(surviving_rows(context, selection.sources, visual.front(),
                               static_cast<std::int64_t>(visual.size()), firsts));
    FOVEA_CHECK(gather_rows(context, hidden, ConstTensorView(firsts), target));
    return firsts;
  }
  const SurvivorList list{selection.sources, selection.offsets, selection.weights,
                          selection.appended};
  ClosedRows rows;
  rows.firsts = firsts;
  if (!merges) {
    FOVEA_CHECK(close_up(context, list, visual, rows));
    FOVEA_CHECK(gather_rows(context, hidden, ConstTensorView(firsts), target));
    return firsts;
  }
  const std::int64_t all = left - selection.count + selection.sources.shape[0];
  FOVEA_TRY(rows.offsets, context.workspace.take(Shape{left + 1}, DType::i32));
  FOVEA_TRY(rows.sources, context.workspace.take(Shape{all}, DType::i32));
  FOVEA_TRY(rows.weights, context.workspace.take(Shape{all}, DType::f32));
  FOVEA_CHECK(close_up(context, list, visual, rows));
  FOVEA_CHECK(merge_rows(context, hidden, ConstTensorView(rows.offsets),
                         ConstTensorView(rows.sources), ConstTensorView(rows.weights), target));
  return firsts;
}

}  // namespace

Result<DeviceCut> DeviceCut::make(Context& context, const LayerStage& view,
                                  const Selection& selection, PositionMode mode,
                                  ConstTensorView positions, TensorView new_positions,
                                  TensorView target, LiveSequence& sequence) {
  const auto visual = view.visual_rows();
  const auto present = static_cast<std::int64_t>(visual.size());
  const auto total = static_cast<std::int64_t>(sequence.origin.size());
  const bool listed = !selection.offsets.empty();
  const std::int64_t stay = listed ? selection.offsets.shape[0] - 1 : selection.sources.shape[0];
  if (selection.count < 0 || selection.count > present || selection.count != stay ||
      !selection.device_count.empty()) {
    return make_error(ErrorCode::internal,
                      "a pruning method left an unclear number of tokens on a GPU");
  }
  DeviceCut cut;
  cut.count_ = selection.count;
  cut.appended_ = selection.appended;
  cut.merges_ = listed;
  cut.mode_ = mode;
  cut.places_known_ =
      present == 0 || static_cast<std::int64_t>(visual.back() - visual.front()) + 1 == present;
  const std::int64_t left = total - present + selection.count;
  if (left == 0) return nothing_left();
  FOVEA_TRY(cut.sources_, Arriving::start(context, selection.sources));
  if (listed) {
    FOVEA_TRY(cut.offsets_, Arriving::start(context, selection.offsets));
  }
  {
    const Workspace::Scope scope(context.workspace);
    FOVEA_TRY(const TensorView firsts,
              move_rows(context, selection, visual, present > 0 && cut.places_known_,
                        sequence.hidden, target.slice(0, left)));
    if (mode == PositionMode::original) {
      FOVEA_CHECK(pick_numbers(context, positions, firsts, new_positions.slice(0, left)));
    }
  }
  cut.before_ = sequence;
  // The last visual rows go, and nobody knows better yet.
  std::vector<std::int32_t> origin, places;
  std::int64_t seen = 0;
  for (std::size_t row = 0; row < sequence.origin.size(); ++row) {
    const bool is_visual =
        seen < present && visual[static_cast<std::size_t>(seen)] == static_cast<std::int32_t>(row);
    if (is_visual && seen++ >= selection.count) continue;
    origin.push_back(sequence.origin[row]);
    places.push_back(sequence.positions[row]);
  }
  sequence.origin = std::move(origin);
  sequence.positions = std::move(places);
  if (mode == PositionMode::compact) {
    std::iota(sequence.positions.begin(), sequence.positions.end(), 0);
  }
  sequence.hidden = target.slice(0, left);
  return cut;
}

Status DeviceCut::settle(const SequenceLayout& layout, LiveSequence& sequence) const {
  FOVEA_TRY(const auto sources, sources_.wait());
  Selection selection;
  selection.count = count_;
  selection.appended = appended_;
  selection.sources = borrowed(sources);
  if (merges_) {
    FOVEA_TRY(const auto offsets, offsets_.wait());
    if (!std::is_sorted(offsets.begin(), offsets.end()) || offsets.front() != 0 ||
        static_cast<std::size_t>(offsets.back()) > sources.size()) {
      return make_error(ErrorCode::internal,
                        "a pruning method returned offsets that fall, on a GPU");
    }
    selection.offsets = borrowed(offsets);
  }
  return name_survivors(layout, before_, selection, mode_, sequence);
}

}  // namespace fovea
