#pragma once
// What a pruning stage answers with.

#include "kernels/tensor.h"

namespace fovea {

/// The survivors of one stage, as indices into the visual tokens present before it (0 .. m-1 in
/// prompt order). Keeping a token is one source of weight 1; merging several tokens into one
/// survivor gives it several sources with weights (SparseVLM, VisionZip, ToMe). A survivor has the
/// id and, with original positions, the position of its first source; no two have the same. Views
/// live in the workspace scope of the stage, on the device of the run.
struct Selection {
  std::int64_t count = 0;  // survivors; with a dynamic count the host-side upper bound
  /// How many of the last survivors are appended after the last visual token, in their order here;
  /// all others stand where their first source stood, and their first sources ascend.
  std::int64_t appended = 0;
  TensorView sources;       // i32 [sum of sources]
  TensorView offsets;       // i32 [count + 1], or empty: survivor i has the one source i
  TensorView weights;       // f32 [sum of sources], or empty: all 1
  TensorView device_count;  // i32 [1], only for stages planned with a dynamic count
};

}  // namespace fovea
