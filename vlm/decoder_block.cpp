#include "vlm/decoder_block.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/activation/activation.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/norm/norm.h"
#include "kernels/ops/rope/rope.h"
#include "kernels/ops/rows/rows.h"
#include "vlm/random_weights.h"

namespace fovea {

namespace {

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

}  // namespace

Result<DecoderBlock> DecoderBlock::load(Context& context, const DecoderConfig& config,
                                        const WeightReader& weights, LinearDType dtype) {
  const BlockShapes s(config);
  DecoderBlock block;
  block.activations = activation_dtype(context, dtype);
  FOVEA_TRY(Tensor input_norm, weights.get_f32("input_layernorm.weight", Shape{s.hidden}));
  FOVEA_TRY(block.input_norm, move_to_device(context, std::move(input_norm)));
  FOVEA_TRY(Tensor post_attention_norm,
            weights.get_f32("post_attention_layernorm.weight", Shape{s.hidden}));
  FOVEA_TRY(block.post_attention_norm, move_to_device(context, std::move(post_attention_norm)));

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
  block.activations = activation_dtype(context, dtype);
  FOVEA_TRY(Tensor input_norm, ones(s.hidden));
  FOVEA_TRY(block.input_norm, move_to_device(context, std::move(input_norm)));
  FOVEA_TRY(Tensor post_attention_norm, ones(s.hidden));
  FOVEA_TRY(block.post_attention_norm, move_to_device(context, std::move(post_attention_norm)));
  const auto make = [&](std::int64_t outputs, std::int64_t inputs) -> Result<Linear> {
    FOVEA_TRY(const Tensor weight, random_matrix(context, outputs, inputs, ++seed));
    return Linear::create(context, weight.view(), {}, dtype);
  };
  FOVEA_TRY(block.qkv, make(s.query_width + 2 * s.kv_width, s.hidden));
  FOVEA_TRY(block.output, make(s.hidden, s.query_width));
  FOVEA_TRY(block.gate_up, make(2 * s.intermediate, s.hidden));
  FOVEA_TRY(block.down, make(s.hidden, s.intermediate));
  return block;
}

Result<BlockProjection> project_block(Context& context, const DecoderConfig& config,
                                      const DecoderBlock& block, ConstTensorView hidden,
                                      ConstTensorView positions) {
  const BlockShapes s(config);
  const std::int64_t rows = hidden.rows();
  FOVEA_TRY(const TensorView fused,
            context.workspace.take(Shape{rows, s.query_width + 2 * s.kv_width}, block.activations));
  {
    Workspace::Scope scope(context.workspace);
    FOVEA_TRY(const TensorView normed,
              context.workspace.take(Shape{rows, s.hidden}, block.activations));
    FOVEA_CHECK(rms_norm(context, hidden, block.input_norm.view(),
                         static_cast<float>(config.rms_norm_eps), normed));
    FOVEA_CHECK(block.qkv.apply(context, normed, fused));
  }
  BlockProjection projection;
  projection.query = head_columns(fused, 0, config.heads, config.head_dim);
  projection.key = head_columns(fused, s.query_width, config.kv_heads, config.head_dim);
  projection.value =
      head_columns(fused, s.query_width + s.kv_width, config.kv_heads, config.head_dim);
  if (positions.empty()) return projection;
  // Query and key lie side by side: their heads turn alike.
  FOVEA_CHECK(rope(context, head_columns(fused, 0, config.heads + config.kv_heads, config.head_dim),
                   positions, static_cast<float>(config.rope_theta)));
  return projection;
}

Result<ProjectedKeys> ProjectedKeys::create(Context& context, const BlockProjection& projection) {
  ProjectedKeys keys;
  keys.projection_ = projection;
  keys.rows_ = static_cast<std::int32_t>(projection.key.rows());
  FOVEA_TRY(const TensorView pages, context.workspace.take({2}, DType::i64));
  FOVEA_TRY(const TensorView length, context.workspace.take({1}, DType::i32));
  const std::array<const std::byte*, 2> addresses{projection.key.data, projection.value.data};
  FOVEA_CHECK(
      copy(context,
           ConstTensorView(reinterpret_cast<const std::byte*>(addresses.data()), DType::i64, {2}),
           pages));
  FOVEA_CHECK(copy(
      context, ConstTensorView(reinterpret_cast<const std::byte*>(&keys.rows_), DType::i32, {1}),
      length));
  keys.pages_ = pages.as<const std::byte*>();
  keys.length_ = length.as<std::int32_t>();
  return keys;
}

KvView ProjectedKeys::view(const std::int32_t* length, std::int32_t rows) const {
  KvView view;
  view.key_pages = pages_;
  view.value_pages = pages_ + 1;
  view.page_tokens = rows_;
  view.length = length;
  view.max_length = rows;
  view.kv_heads = static_cast<std::int32_t>(projection_.key.shape[1]);
  view.head_dim = static_cast<std::int32_t>(projection_.key.shape[2]);
  view.key_head_stride = view.value_head_stride = view.head_dim;
  view.key_token_stride = projection_.key.row_stride;
  view.value_token_stride = projection_.value.row_stride;
  view.dtype = projection_.key.dtype;
  return view;
}

float attention_scale(const DecoderConfig& config) {
  return 1.0f / std::sqrt(static_cast<float>(config.head_dim));
}

namespace {

/// [rows, heads, head_dim] as [rows, heads * head_dim].
template <class View>
View flat(View view) {
  view.shape = Shape{view.rows(), view.inner_elements()};
  return view;
}

/// Where each of `rows` stands in the ascending list `of`, or `of` is empty: the row itself.
std::vector<std::int32_t> places(std::span<const std::int32_t> rows,
                                 std::span<const std::int32_t> of) {
  std::vector<std::int32_t> found(rows.begin(), rows.end());
  if (of.empty()) return found;
  for (std::int32_t& row : found) {
    row = static_cast<std::int32_t>(std::lower_bound(of.begin(), of.end(), row) - of.begin());
  }
  return found;
}

/// The projection of some rows, gathered.
Result<BlockProjection> pick_projection(Context& context, const BlockProjection& from,
                                        std::span<const std::int32_t> rows) {
  const auto count = static_cast<std::int64_t>(rows.size());
  BlockProjection picked;
  for (const auto part :
       {&BlockProjection::query, &BlockProjection::key, &BlockProjection::value}) {
    const Shape& shape = (from.*part).shape;
    FOVEA_TRY(picked.*part,
              context.workspace.take(Shape{count, shape[1], shape[2]}, (from.*part).dtype));
    FOVEA_CHECK(gather_rows(context, flat(from.*part), rows, flat(picked.*part)));
  }
  return picked;
}

}  // namespace

Result<BlockAttention> BlockAttention::reserve(Context& context, const DecoderConfig& config,
                                               std::vector<std::int32_t> slots) {
  const auto count = static_cast<std::int64_t>(slots.size());
  BlockAttention attention;
  attention.slots = std::move(slots);
  FOVEA_TRY(attention.query,
            context.workspace.take(Shape{count, config.heads, config.head_dim}, DType::f32));
  FOVEA_TRY(attention.lse, context.workspace.take(Shape{config.heads, count}, DType::f32));
  return attention;
}

Status attend_block(Context& context, const DecoderConfig& config, const DecoderBlock& block,
                    const BlockProjection& projection, TensorView hidden, KvCache& cache, int layer,
                    const AttendOptions& options) {
  const BlockShapes s(config);
  const std::int64_t rows = hidden.rows();
  std::vector<std::int32_t> wanted;  // rows of the projection
  if (options.kept != nullptr) {
    wanted = options.kept->slots;
    for (std::int32_t& row : wanted) row -= cache.length(layer);
    FOVEA_CHECK(gather_rows(context, flat(projection.query), wanted, flat(options.kept->query)));
  }
  FOVEA_CHECK(cache.append(context, layer, projection.key, projection.value));

  Workspace::Scope scope(context.workspace);
  const bool bypassed = !options.attending.empty();
  BlockProjection part = projection;
  if (bypassed) {
    FOVEA_TRY(part, pick_projection(context, projection, options.attending));
  }
  KvView view = cache.view(layer);
  if (bypassed) {
    FOVEA_TRY(const ProjectedKeys keys, ProjectedKeys::create(context, part));
    view = keys.view();
  }
  const std::array<KvView, 1> views{view};
  const std::int64_t attending = part.query.rows();
  const std::int64_t run_rows =
      options.last_rows > 0 ? std::min(attending, options.last_rows) : attending;
  FOVEA_TRY(
      const TensorView mixed,
      context.workspace.take(Shape{run_rows, config.heads, config.head_dim}, block.activations));
  TensorView lse;
  if (options.kept != nullptr) {
    FOVEA_TRY(lse, context.workspace.take(Shape{config.heads, run_rows}, DType::f32));
  }
  const std::array<std::int32_t, 2> offsets{0, static_cast<std::int32_t>(run_rows)};
  AttentionArgs args;
  args.query = part.query.slice(attending - run_rows, run_rows);
  args.row_offsets = offsets;
  args.kv = views;
  args.mask = MaskKind::causal;
  args.scale = attention_scale(config);
  args.out = mixed;
  args.lse = lse;
  FOVEA_CHECK(attention(context, args));
  if (options.kept != nullptr) {
    std::vector<std::int32_t> ran = places(wanted, options.attending);
    for (std::int32_t& row : ran) row -= static_cast<std::int32_t>(attending - run_rows);
    FOVEA_CHECK(gather_columns(context, lse, ran, options.kept->lse));
  }

  if (!bypassed || options.last_rows > 0) {
    FOVEA_CHECK(block.output.apply(context, flat(mixed), hidden.slice(rows - run_rows, run_rows),
                                   {.accumulate = true}));
    return {};
  }
  FOVEA_TRY(const TensorView update,
            context.workspace.take(Shape{attending, s.hidden}, DType::f32));
  FOVEA_CHECK(gather_rows(context, hidden, options.attending, update));
  FOVEA_CHECK(block.output.apply(context, flat(mixed), update, {.accumulate = true}));
  return scatter_rows(context, update, options.attending, hidden);
}

Status run_mlp(Context& context, const DecoderConfig& config, const DecoderBlock& block,
               TensorView hidden, std::int64_t rows_at_once) {
  const std::int64_t width = config.intermediate_size;
  for (std::int64_t first = 0; first < hidden.rows(); first += rows_at_once) {
    const std::int64_t rows = std::min(rows_at_once, hidden.rows() - first);
    Workspace::Scope scope(context.workspace);
    const TensorView part = hidden.slice(first, rows);
    FOVEA_TRY(const TensorView normed,
              context.workspace.take(Shape{rows, config.hidden_size}, block.activations));
    FOVEA_TRY(const TensorView both,
              context.workspace.take(Shape{rows, 2 * width}, block.activations));
    FOVEA_CHECK(rms_norm(context, part, block.post_attention_norm.view(),
                         static_cast<float>(config.rms_norm_eps), normed));
    FOVEA_CHECK(block.gate_up.apply(context, normed, both));
    TensorView gate = both, up = both;
    gate.shape = up.shape = Shape{rows, width};
    up.data += static_cast<std::size_t>(width) * dtype_size(up.dtype);
    FOVEA_CHECK(silu_mul(context, gate, up, gate));
    FOVEA_CHECK(block.down.apply(context, gate, part, {.accumulate = true}));
  }
  return {};
}

Status preview_block(Context& context, const DecoderConfig& config,
                     const BlockProjection& projection, BlockAttention& ahead) {
  const std::size_t rows = ahead.slots.size();
  FOVEA_CHECK(gather_rows(context, flat(projection.query), ahead.slots, flat(ahead.query)));

  // Each row is a sequence of its own, as long as what it sees.
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView mixed, context.workspace.take(ahead.query.shape, DType::f32));
  FOVEA_TRY(const ProjectedKeys keys, ProjectedKeys::create(context, projection));
  std::vector<std::int32_t> lengths(rows), offsets{0};
  for (std::size_t i = 0; i < rows; ++i) {
    lengths[i] = ahead.slots[i] + 1;
    offsets.push_back(static_cast<std::int32_t>(i) + 1);
  }
  FOVEA_TRY(const ConstTensorView there, to_device(context, i32_view(lengths)));
  std::vector<KvView> views;
  for (std::size_t i = 0; i < rows; ++i) {
    views.push_back(keys.view(there.as<std::int32_t>() + i, lengths[i]));
  }
  AttentionArgs args;
  args.query = ahead.query;
  args.row_offsets = offsets;
  args.kv = views;
  args.mask = MaskKind::causal;
  args.scale = attention_scale(config);
  args.out = mixed;
  args.lse = ahead.lse;
  return attention(context, args);
}

}  // namespace fovea
