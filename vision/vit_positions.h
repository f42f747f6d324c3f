#pragma once
// Position tables of a Vision Transformer moved to another grid.

#include <cstdint>

#include "kernels/tensor.h"

namespace fovea {

/// table: [prefix + from * from, hidden] f32, the rows of special tokens first, then those of the
/// patches in raster order. Returns [prefix + to * to, hidden]: special rows unchanged, patch rows
/// resampled as transformers does (bicubic with a = -0.75, align_corners false, edges repeated, no
/// antialiasing; timm's newer versions antialias where the grid shrinks). With from == to the table
/// is returned bit for bit. Errors: usage (shapes), out_of_memory.
Result<Tensor> resample_positions(ConstTensorView table, std::int64_t prefix, std::int64_t from,
                                  std::int64_t to);

}  // namespace fovea
