#include "vlm/decoder_block.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/ops/activation/activation.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/norm/norm.h"
#include "kernels/ops/rope/rope.h"
#include "vlm/random_weights.h"

namespace fovea {

namespace {

// Rows of the MLP that run at once: bounds the scratch of long prompts without costing speed.
constexpr std::int64_t kMlpRows = 1024;

struct BlockShapes {
  std::int64_t hidden, intermediate, query_width, kv_width;
  explicit BlockShapes(const DecoderConfig& config)
      : hidden(config.hidden_size),
        intermediate(config.intermediate_size),
        query_width(config.heads * config.head_dim),
        kv_width(config.kv_heads * config.head_dim) {}
};

/// Part of a fused product's rows, as [rows, heads, head_dim].
TensorView head_columns(const TensorView& fused, std::int64_t first_column, std::int64_t heads,
                        std::int64_t head_dim) {
  TensorView view = fused;
  view.data += static_cast<std::size_t>(first_column) * dtype_size(fused.dtype);
  view.shape = Shape{fused.shape[0], heads, head_dim};
  return view;
}

Status run_mlp(Context& context, const DecoderConfig& config, const DecoderBlock& block,
               TensorView hidden) {
  const std::int64_t width = config.intermediate_size;
  for (std::int64_t first = 0; first < hidden.rows(); first += kMlpRows) {
    const std::int64_t rows = std::min(kMlpRows, hidden.rows() - first);
    Workspace::Scope scope(context.workspace);
    const TensorView part = hidden.slice(first, rows);
    FOVEA_TRY(const TensorView normed,
              context.workspace.take(Shape{rows, config.hidden_size}, DType::f32));
    FOVEA_TRY(const TensorView both, context.workspace.take(Shape{rows, 2 * width}, DType::f32));
    FOVEA_CHECK(rms_norm(context, part, block.post_attention_norm.view(),
                         static_cast<float>(config.rms_norm_eps), normed));
    FOVEA_CHECK(block.gate_up.apply(context, normed, both));
    TensorView gate = both, up = both;
    gate.shape = up.shape = Shape{rows, width};
    up.data += static_cast<std::size_t>(width) * sizeof(float);
    FOVEA_CHECK(silu_mul(context, gate, up, gate));
    FOVEA_CHECK(block.down.apply(context, gate, part, {.accumulate = true}));
  }
  return {};
}

}  // namespace

Result<DecoderBlock> DecoderBlock::load(Context& context, const DecoderConfig& config,
                                        const WeightReader& weights, LinearDType dtype) {
  const BlockShapes s(config);
  DecoderBlock block;
  FOVEA_TRY(block.input_norm, weights.get_f32("input_layernorm.weight", Shape{s.hidden}));
  FOVEA_TRY(block.post_attention_norm,
            weights.get_f32("post_attention_layernorm.weight", Shape{s.hidden}));

  FOVEA_TRY(const auto query,
            weights.get("self_attn.q_proj.weight", Shape{s.query_width, s.hidden}));
  FOVEA_TRY(const auto key, weights.get("self_attn.k_proj.weight", Shape{s.kv_width, s.hidden}));
  FOVEA_TRY(const auto value, weights.get("self_attn.v_proj.weight", Shape{s.kv_width, s.hidden}));
  FOVEA_TRY(const auto output,
            weights.get("self_attn.o_proj.weight", Shape{s.hidden, s.query_width}));
  std::vector<ConstTensorView> biases;
  ConstTensorView output_bias;
  if (config.attention_bias) {
    for (const auto& [name, width] : {std::pair{"self_attn.q_proj.bias", s.query_width},
                                      {"self_attn.k_proj.bias", s.kv_width},
                                      {"self_attn.v_proj.bias", s.kv_width}}) {
      FOVEA_TRY(const auto bias, weights.get(name, Shape{width}));
      biases.push_back(bias);
    }
    FOVEA_TRY(output_bias, weights.get("self_attn.o_proj.bias", Shape{s.hidden}));
  }
  FOVEA_TRY(block.qkv, Linear::create(context, std::array{query, key, value}, biases, dtype));
  FOVEA_TRY(block.output, Linear::create(context, output, output_bias, dtype));

  FOVEA_TRY(const auto gate, weights.get("mlp.gate_proj.weight", Shape{s.intermediate, s.hidden}));
  FOVEA_TRY(const auto up, weights.get("mlp.up_proj.weight", Shape{s.intermediate, s.hidden}));
  FOVEA_TRY(const auto down, weights.get("mlp.down_proj.weight", Shape{s.hidden, s.intermediate}));
  FOVEA_TRY(block.gate_up, Linear::create(context, std::array{gate, up}, {}, dtype));
  FOVEA_TRY(block.down, Linear::create(context, down, {}, dtype));
  return block;
}

Result<DecoderBlock> DecoderBlock::random(Context& context, const DecoderConfig& config,
                                          LinearDType dtype, std::uint64_t seed) {
  const BlockShapes s(config);
  DecoderBlock block;
  FOVEA_TRY(block.input_norm, ones(s.hidden));
  FOVEA_TRY(block.post_attention_norm, ones(s.hidden));
  const auto make = [&](std::int64_t outputs, std::int64_t inputs) -> Result<Linear> {
    FOVEA_TRY(const Tensor weight, random_matrix(outputs, inputs, ++seed));
    return Linear::create(context, weight.view(), {}, dtype);
  };
  FOVEA_TRY(block.qkv, make(s.query_width + 2 * s.kv_width, s.hidden));
  FOVEA_TRY(block.output, make(s.hidden, s.query_width));
  FOVEA_TRY(block.gate_up, make(2 * s.intermediate, s.hidden));
  FOVEA_TRY(block.down, make(s.hidden, s.intermediate));
  return block;
}

Status run_block(Context& context, const DecoderConfig& config, const DecoderBlock& block,
                 TensorView hidden, std::span<const std::int32_t> positions, KvCache& cache,
                 int layer, bool only_last, BlockAttention* attention_out) {
  const BlockShapes s(config);
  const std::int64_t rows = hidden.rows();
  const float scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));

  // Queries stay in the caller's scope when statistics want them; all else is scratch.
  const std::int64_t run_rows = only_last ? std::min<std::int64_t>(rows, 1) : rows;
  TensorView lse;
  TensorView kept_query;
  if (attention_out != nullptr) {
    FOVEA_TRY(lse, context.workspace.take(Shape{config.heads, run_rows}, DType::f32));
    FOVEA_TRY(kept_query,
              context.workspace.take(Shape{run_rows, config.heads, config.head_dim}, DType::f32));
  }
  const TensorView run_hidden = hidden.slice(rows - run_rows, run_rows);
  {
    Workspace::Scope scope(context.workspace);
    FOVEA_TRY(const TensorView normed, context.workspace.take(Shape{rows, s.hidden}, DType::f32));
    FOVEA_TRY(const TensorView fused,
              context.workspace.take(Shape{rows, s.query_width + 2 * s.kv_width}, DType::f32));
    FOVEA_TRY(const TensorView mixed,
              context.workspace.take(Shape{run_rows, config.heads, config.head_dim}, DType::f32));
    FOVEA_CHECK(rms_norm(context, hidden, block.input_norm.view(),
                         static_cast<float>(config.rms_norm_eps), normed));
    FOVEA_CHECK(block.qkv.apply(context, normed, fused));
    const TensorView query =
        head_columns(fused, 0, config.heads, config.head_dim).slice(rows - run_rows, run_rows);
    const TensorView key = head_columns(fused, s.query_width, config.kv_heads, config.head_dim);
    const TensorView value =
        head_columns(fused, s.query_width + s.kv_width, config.kv_heads, config.head_dim);
    const float theta = static_cast<float>(config.rope_theta);
    FOVEA_CHECK(
        rope(context, query, positions.subspan(static_cast<std::size_t>(rows - run_rows)), theta));
    FOVEA_CHECK(rope(context, key, positions, theta));
    FOVEA_CHECK(cache.append(layer, key, value));

    const std::array<std::int32_t, 2> offsets{0, static_cast<std::int32_t>(run_rows)};
    const std::array<KvView, 1> views{cache.view(layer)};
    AttentionArgs args;
    args.query = query;
    args.row_offsets = offsets;
    args.kv = views;
    args.mask = MaskKind::causal;
    args.scale = scale;
    args.out = mixed;
    args.lse = lse;
    FOVEA_CHECK(attention(context, args));
    if (attention_out != nullptr) FOVEA_CHECK(convert(query, kept_query));

    TensorView flat = mixed;
    flat.shape = Shape{run_rows, s.query_width};
    FOVEA_CHECK(block.output.apply(context, flat, run_hidden, {.accumulate = true}));
  }
  FOVEA_CHECK(run_mlp(context, config, block, run_hidden));
  if (attention_out != nullptr) *attention_out = {kept_query, lse};
  return {};
}

}  // namespace fovea
