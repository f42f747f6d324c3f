#pragma once
// A cut between two layers on a GPU, of whose outcome the host learns later: the next launches need
// the number of rows and not their names.

#include <cstdint>
#include <vector>

#include "kernels/fetch.h"
#include "vlm/stage_runner.h"

namespace fovea {

class DeviceCut {
 public:
  /// Moves the rows that stay into `target`, as apply_selection() does. The selection lies on the
  /// GPU, with no dynamic count. Until settle() tells, the survivors' names in `sequence` are those
  /// of the first visual tokens: as many, and of the right kind. positions: i32 [n], those of the
  /// rows present, on the GPU; when they stay as they are, those of the survivors are written to
  /// new_positions.
  static Result<DeviceCut> make(Context& context, const LayerStage& view,
                                const Selection& selection, PositionMode mode,
                                ConstTensorView positions, TensorView new_positions,
                                TensorView target, LiveSequence& sequence);

  /// Whether the rows of every kind stand where `sequence` says before it is settled: the visual
  /// tokens stood side by side.
  bool places_known() const { return places_known_; }
  /// Waits for the survivors' names and writes them into `sequence`, which no other cut has changed
  /// since.
  Status settle(const SequenceLayout& layout, LiveSequence& sequence) const;

 private:
  Arriving sources_, offsets_;
  std::int64_t count_ = 0, appended_ = 0;
  bool merges_ = false, places_known_ = true;
  PositionMode mode_ = PositionMode::original;
  LiveSequence before_;
};

}  // namespace fovea
