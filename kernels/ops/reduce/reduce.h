#pragma once
// Small reductions that pruning scores are made of.

#include "kernels/context.h"

namespace fovea {

/// out[h, j] = sum_i P[h, i, j] + sum_i P[h, j, i] - P[h, j, j]: how strongly token j is tied to
/// the others in either direction, the diagonal counted once. tile: f32 [heads, n, n]; out: f32
/// [heads, n].
Status affinity_sums(Context& context, ConstTensorView tile, TensorView out);

/// Indices of the k largest scores, ascending, lower index first among equals, NaN smallest:
/// scores f32 [n]; indices i32 [k] with 0 <= k <= n.
Status top_k_indices(Context& context, ConstTensorView scores, TensorView indices);

/// norms[h, i] = length of row i's part of head h, summed in double. x: [rows, heads, channels] f32,
/// on a GPU f32, f16 or bf16; norms: f32 [heads, rows].
Status channel_norms(Context& context, ConstTensorView x, TensorView norms);

}  // namespace fovea
