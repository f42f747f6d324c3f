#pragma once
// The steps of a tower over the rows of a batch: embedding, and one pre-norm block.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/attention/attention.h"
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

/// What comes before the first block: hidden [pictures * tokens, hidden] from pixels [pictures,
/// channels, size, size], both where the context computes.
Status embed_pictures(Context& context, const VitConfig& config, const VitWeights& weights,
                      ConstTensorView pixels, TensorView hidden);

/// Where each picture's keys and values lie, for every block that runs on the same rows: sent to
/// the device once and not block by block.
class VitKeys {
 public:
  /// `pictures`: as many as point_at() will ever be given. Errors: out_of_memory.
  static Result<VitKeys> reserve(Context& context, std::int64_t pictures);
  /// From now on those of `rows` in `buffers`, which have exactly these rows.
  Status point_at(Context& context, const VitConfig& config, const VitRows& rows,
                  const VitBuffers& buffers);
  std::span<const KvView> views() const { return views_; }

 private:
  std::vector<const std::byte*> pages_;  // of the pictures' keys, then of their values
  std::vector<std::int32_t> lengths_;
  TensorView pages_there_, lengths_there_;  // the same on a GPU
  std::vector<KvView> views_;
};

/// The first half of a block: hidden, [rows, hidden], gains what attention gathers. `buffers` have
/// exactly these rows, and `keys` points at them. key_bias: as in AttentionArgs.
Status run_vit_attention(Context& context, const VitConfig& config, const VitBlockWeights& block,
                         const VitRows& rows, const VitBuffers& buffers, const VitKeys& keys,
                         std::span<const float* const> key_bias, TensorView hidden);

/// The second half.
Status run_vit_mlp(Context& context, const VitConfig& config, const VitBlockWeights& block,
                   const VitBuffers& buffers, TensorView hidden);

/// What the block that has just run shows.
VitBlockView block_view(const VitConfig& config, int layer, const VitRows& rows,
                        const VitBuffers& buffers, ConstTensorView hidden);

}  // namespace fovea
