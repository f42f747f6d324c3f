#pragma once
// Descriptions of matrices for Hopper's copies of whole tiles (tile_copy.cuh).

#include <cuda.h>

#include "kernels/cuda/runtime.h"
#include "kernels/tensor.h"

namespace fovea {

/// Describes `matrix`, [rows, columns] of f16 or bf16, by tiles of `tile_rows` rows (at most 256) and
/// 64 columns, laid out as wgmma.cuh has them; what lies beyond the matrix reads as zero. False where
/// the driver knows no such copies or refuses these: the address and the distance from row to row must
/// be multiples of 16 bytes. Errors: device.
Result<bool> describe_tiles(ConstTensorView matrix, int tile_rows, CUtensorMap& map);

}  // namespace fovea
