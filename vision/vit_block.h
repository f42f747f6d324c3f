#pragma once
// One pre-norm block over the rows of a batch.

#include <cstdint>

#include "kernels/context.h"
#include "vision/vit.h"
#include "vision/vit_weights.h"

namespace fovea {

/// Scratch memory of one pass with room for every row of the batch, in the tower's type of
/// activations; lse f32.
struct VitBuffers {
  TensorView normed;    // [rows, hidden]: a block's normed input
  TensorView gathered;  // [rows, hidden]: what attention gathered; `normed` when nobody watches
  TensorView qkv;       // [rows, 3 * hidden]
  TensorView mlp;       // [rows, intermediate]
  TensorView lse;       // heads * rows numbers, only when somebody watches
};

/// Views live in the caller's workspace scope. Errors: out_of_memory.
Result<VitBuffers> take_vit_buffers(Context& context, const VitConfig& config, DType activations,
                                    std::int64_t rows, bool watched);

/// The buffers cut to this many rows.
VitBuffers first_rows(const VitBuffers& buffers, std::int64_t heads, std::int64_t rows);

/// The first half of a block: hidden, [rows, hidden], gains what attention gathers. `buffers` have
/// exactly these rows. key_bias: as in AttentionArgs.
Status run_vit_attention(Context& context, const VitConfig& config, const VitBlockWeights& block,
                         const VitRows& rows, const VitBuffers& buffers,
                         std::span<const float* const> key_bias, TensorView hidden);

/// The second half.
Status run_vit_mlp(Context& context, const VitConfig& config, const VitBlockWeights& block,
                   const VitBuffers& buffers, TensorView hidden);

/// What the block that has just run shows.
VitBlockView block_view(const VitConfig& config, int layer, const VitRows& rows,
                        const VitBuffers& buffers, ConstTensorView hidden);

}  // namespace fovea
