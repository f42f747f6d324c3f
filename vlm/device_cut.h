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
  /// Whether a sequence can be cut so: its visual tokens stand side by side, and none are merged.
  static bool possible(const SequenceLayout& layout, const LiveSequence& sequence);

  /// Moves the rows that stay into `target`, as apply_selection() does. The selection lies on the
  /// GPU. Until settle() tells, the survivors' origins and positions in `sequence` are those of the
  /// first visual tokens: as many, and of the right kind. positions: i32 [n], those of the rows
  /// present, on the GPU; when they stay as they are, those of the survivors are written to
  /// new_positions.
  static Result<DeviceCut> make(Context& context, const LayerStage& view,
                                const Selection& selection, PositionMode mode,
                                ConstTensorView positions, TensorView new_positions,
                                TensorView target, LiveSequence& sequence);

  /// Waits for the survivors' names and writes them into `sequence`, which no other cut has changed
  /// since.
  Status settle(LiveSequence& sequence) const;

 private:
  Arriving kept_;
  std::size_t first_ = 0, count_ = 0;
  // Of the visual tokens that were present; positions only where they stay as they are.
  std::vector<std::int32_t> origin_, positions_;
};

}  // namespace fovea
