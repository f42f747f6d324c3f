#pragma once
// One layer of the decoder: weights, and the steps between which a prefill may stop.

#include <span>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/weights/weight_reader.h"
#include "vlm/kv_cache.h"
#include "vlm/llava_config.h"

namespace fovea {

struct DecoderBlock {
  Tensor input_norm, post_attention_norm;  // [hidden] f32
  Linear qkv;                              // query, key and value stacked
  Linear output;
  Linear gate_up;  // gate and up stacked
  Linear down;

  static Result<DecoderBlock> load(Context& context, const DecoderConfig& config,
                                   const WeightReader& weights, LinearDType dtype);
  static Result<DecoderBlock> random(Context& context, const DecoderConfig& config,
                                     LinearDType dtype, std::uint64_t seed);
};

/// What one layer's attention leaves behind for statistics; views live in the caller's workspace
/// scope.
struct BlockAttention {
  TensorView query;  // [rows that ran, heads, head_dim] f32, rotated
  TensorView lse;    // [heads, rows that ran] f32
};

/// Runs one layer over hidden [n, hidden] f32 in place; keys and values of all rows enter the
/// cache. With `only_last` only the last row goes on past the keys and values (the last layer of a
/// prompt needs no other), and only that row of `hidden` is updated. `attention`, when given,
/// receives queries and lse (of the last row alone with only_last).
Status run_block(Context& context, const DecoderConfig& config, const DecoderBlock& block,
                 TensorView hidden, std::span<const std::int32_t> positions, KvCache& cache,
                 int layer, bool only_last, BlockAttention* attention);

}  // namespace fovea
