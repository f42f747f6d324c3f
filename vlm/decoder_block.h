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
  DType activations = DType::f32;  // of what flows between the products

  static Result<DecoderBlock> load(Context& context, const DecoderConfig& config,
                                   const WeightReader& weights, LinearDType dtype);
  static Result<DecoderBlock> random(Context& context, const DecoderConfig& config,
                                     LinearDType dtype, std::uint64_t seed);
};

/// Queries and lse of chosen rows of one layer's attention, for statistics.
struct BlockAttention {
  std::vector<std::int32_t> slots;  // ascending: which keys of the layer belong to the same tokens
  TensorView query;                 // [slots, heads, head_dim] f32, rotated
  TensorView lse;                   // [heads, slots] f32

  /// Room for these slots in the caller's workspace scope.
  static Result<BlockAttention> reserve(Context& context, const DecoderConfig& config,
                                        std::vector<std::int32_t> slots);
};

/// Query, key and value of every row of one layer, rotated: parts of one fused product, in the
/// block's type of activations.
struct BlockProjection {
  TensorView query;       // [n, heads, head_dim]
  TensorView key, value;  // [n, kv_heads, head_dim]
};

/// Numbers of the host as a view, which borrows them.
inline ConstTensorView i32_view(std::span<const std::int32_t> numbers) {
  return {reinterpret_cast<const std::byte*>(numbers.data()), DType::i32,
          Shape{static_cast<std::int64_t>(numbers.size())}};
}

/// What multiplies q.k before the softmax.
float attention_scale(const DecoderConfig& config);

// The three steps of a layer, over hidden [n, hidden] f32.

/// First step: input norm, query, key and value, rotation. positions: i32 [n], where the context
/// computes, or empty: nothing is rotated yet. The result lives in the caller's workspace scope.
Result<BlockProjection> project_block(Context& context, const DecoderConfig& config,
                                      const DecoderBlock& block, ConstTensorView hidden,
                                      ConstTensorView positions);

struct AttendOptions {
  /// Above 0: only so many rows at the end go on past the keys and values (the last layer of a
  /// prompt needs few): no other row of `hidden` is updated. More than 1 only without `attending`.
  std::int64_t last_rows = 0;
  /// Rows that take part in the attention, ascending, the last row among them; empty: all. The
  /// others keep their residual, and their keys and values still enter the cache.
  std::span<const std::int32_t> attending;
  /// When set, query and lse of its slots are filled in; their rows must run and take part.
  BlockAttention* kept = nullptr;
};

/// Second step: keys and values of all rows enter the cache; hidden += attention.
Status attend_block(Context& context, const DecoderConfig& config, const DecoderBlock& block,
                    const BlockProjection& projection, TensorView hidden, KvCache& cache, int layer,
                    const AttendOptions& options);

// Rows of the MLP that run at once: bounds the scratch of long prompts without costing speed.
inline constexpr std::int64_t kMlpRows = 1024;

/// Third step: hidden += MLP, for at most `rows_at_once` rows at a time.
Status run_mlp(Context& context, const DecoderConfig& config, const DecoderBlock& block,
               TensorView hidden, std::int64_t rows_at_once = kMlpRows);

/// Fills `ahead` with query and lse of its slots (rows of the projection) over the projection's own
/// keys: a layer's attention ahead of time, touching no cache.
Status preview_block(Context& context, const DecoderConfig& config,
                     const BlockProjection& projection, BlockAttention& ahead);

/// The projection's keys and values as attention reads them. Borrows the caller's workspace scope.
class ProjectedKeys {
 public:
  static Result<ProjectedKeys> create(Context& context, const BlockProjection& projection);
  /// All keys.
  KvView view() const { return view(length_, rows_); }
  /// Those of the first *length rows; `length` lies where the context computes and outlives the
  /// view.
  KvView view(const std::int32_t* length, std::int32_t rows) const;

 private:
  BlockProjection projection_;
  const std::byte* const* pages_ = nullptr;  // of keys, of values
  const std::int32_t* length_ = nullptr;
  std::int32_t rows_ = 0;
};

}  // namespace fovea
