#pragma once
// A tower on a GPU over one picture that nobody watches: recorded once per context, then replayed,
// for the launches of its many short kernels take the host longer than the kernels take.

#include "kernels/context.h"
#include "vision/vit.h"
#include "vision/vit_weights.h"

namespace fovea {

/// out = the tower's states of `pixels` [1, channels, size, size], which may lie in the host's
/// memory. False, with nothing done, the first time: what is asked once need not be recorded.
/// `weights` also names the recording. rows: all those of one picture.
Result<bool> replay_tower(Context& context, const VitConfig& config, const VitWeights& weights,
                          const VitRows& rows, ConstTensorView pixels, TensorView out);

}  // namespace fovea
