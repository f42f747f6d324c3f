#pragma once
// A picture cut into the patches that a Vision Transformer embeds.

#include "kernels/context.h"

namespace fovea {

/// patches[i] = the numbers of patch i (raster order): channel, then row, then column, the order in
/// which the weight of a convolution lies. pixels: f32 [channels, side, side], side a multiple of
/// `patch`; patches: f32 [(side / patch)^2, channels * patch^2]; on a GPU `patches` may be of any
/// float type. Errors: usage.
Status cut_patches(Context& context, ConstTensorView pixels, std::int64_t patch,
                   TensorView patches);

}  // namespace fovea
