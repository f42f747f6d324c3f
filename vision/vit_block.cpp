#include "vision/vit_block.h"

#include <vector>

#include "kernels/ops/attention/attention.h"
#include "kernels/ops/norm/norm.h"

namespace fovea {

namespace {

/// Columns [begin, begin + heads * head_dim) of a [rows, width] block, as [rows, heads, head_dim].
TensorView heads_view(TensorView block, std::int64_t begin, const VitConfig& config) {
  TensorView view(block.data + static_cast<std::size_t>(begin) * sizeof(float), DType::f32,
                  {block.rows(), config.heads, config.head_dim()}, block.device);
  view.row_stride = block.row_stride;
  return view;
}

/// Each picture's tokens see each other.
Status attend(Context& context, const VitConfig& config, const VitRows& rows,
              const VitBuffers& buffers, std::span<const float* const> key_bias) {
  const std::int64_t width = config.hidden_size;
  const TensorView key = heads_view(buffers.qkv, width, config);
  const TensorView value = heads_view(buffers.qkv, 2 * width, config);
  const auto pictures = static_cast<std::size_t>(rows.pictures());
  std::vector<const std::byte*> key_pages(pictures), value_pages(pictures);
  std::vector<std::int32_t> lengths(pictures);
  std::vector<KvView> kv(pictures);
  for (std::size_t p = 0; p < pictures; ++p) {
    const std::int64_t first = rows.offsets[p];
    lengths[p] = rows.offsets[p + 1] - rows.offsets[p];
    key_pages[p] = key.slice(first, lengths[p]).data;
    value_pages[p] = value.slice(first, lengths[p]).data;
    kv[p] = key_view(key, &key_pages[p], &lengths[p]);
    kv[p].value_pages = &value_pages[p];
    kv[p].value_head_stride = config.head_dim();
    kv[p].value_token_stride = value.row_stride;
  }
  AttentionArgs args;
  args.query = heads_view(buffers.qkv, 0, config);
  args.row_offsets = rows.offsets;
  args.kv = kv;
  args.mask = MaskKind::full;
  args.scale = config.attention_scale();
  args.key_bias = key_bias;
  args.out = heads_view(buffers.gathered, 0, config);
  args.lse = buffers.lse;
  return attention(context, args);
}

}  // namespace

KvView key_view(ConstTensorView key, const std::byte* const* page, const std::int32_t* length) {
  KvView kv;
  kv.key_pages = page;
  kv.page_tokens = *length;
  kv.length = length;
  kv.kv_heads = static_cast<std::int32_t>(key.shape[1]);
  kv.head_dim = static_cast<std::int32_t>(key.shape[2]);
  kv.key_head_stride = key.shape[2];
  kv.key_token_stride = key.row_stride;
  return kv;
}

VitPictureView picture_view(const VitBlockView& block, std::int64_t picture) {
  const std::int64_t first = block.rows->first(picture), count = block.rows->count(picture);
  VitPictureView view;
  view.query = block.query.slice(first, count);
  view.key = block.key.slice(first, count);
  view.gathered = block.gathered.slice(first, count);
  view.lse = ConstTensorView(block.lse.data + static_cast<std::size_t>(first) * sizeof(float),
                             DType::f32, {block.lse.shape[0], count}, block.lse.device);
  view.lse.row_stride = block.lse.row_stride;
  view.tokens = std::span<const std::int32_t>(block.rows->tokens)
                    .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
  return view;
}

Result<VitBuffers> take_vit_buffers(Context& context, const VitConfig& config, std::int64_t rows,
                                    bool watched) {
  VitBuffers buffers;
  const std::int64_t hidden = config.hidden_size;
  FOVEA_TRY(buffers.normed, context.workspace.take({rows, hidden}, DType::f32));
  FOVEA_TRY(buffers.qkv, context.workspace.take({rows, 3 * hidden}, DType::f32));
  FOVEA_TRY(buffers.mlp, context.workspace.take({rows, config.intermediate_size}, DType::f32));
  buffers.gathered = buffers.normed;
  if (watched) {
    FOVEA_TRY(buffers.gathered, context.workspace.take({rows, hidden}, DType::f32));
    FOVEA_TRY(buffers.lse, context.workspace.take({config.heads, rows}, DType::f32));
  }
  return buffers;
}

VitBuffers first_rows(const VitBuffers& buffers, std::int64_t heads, std::int64_t rows) {
  VitBuffers cut;
  cut.normed = buffers.normed.slice(0, rows);
  cut.gathered = buffers.gathered.slice(0, rows);
  cut.qkv = buffers.qkv.slice(0, rows);
  cut.mlp = buffers.mlp.slice(0, rows);
  if (!buffers.lse.empty()) {
    cut.lse = TensorView(buffers.lse.data, DType::f32, {heads, rows}, buffers.lse.device);
  }
  return cut;
}

namespace {

constexpr Epilogue kOntoResidual{.activation = Activation::none, .accumulate = true};

}  // namespace

Status run_vit_attention(Context& context, const VitConfig& config, const VitBlockWeights& block,
                         const VitRows& rows, const VitBuffers& buffers,
                         std::span<const float* const> key_bias, TensorView hidden) {
  const auto eps = static_cast<float>(config.layer_norm_eps);
  FOVEA_CHECK(layer_norm(context, hidden, block.norm1.weight.view(), block.norm1.bias.view(), eps,
                         buffers.normed));
  FOVEA_CHECK(block.qkv.apply(context, buffers.normed, buffers.qkv));
  FOVEA_CHECK(attend(context, config, rows, buffers, key_bias));
  return block.out.apply(context, buffers.gathered, hidden, kOntoResidual);
}

Status run_vit_mlp(Context& context, const VitConfig& config, const VitBlockWeights& block,
                   const VitBuffers& buffers, TensorView hidden) {
  const auto eps = static_cast<float>(config.layer_norm_eps);
  FOVEA_CHECK(layer_norm(context, hidden, block.norm2.weight.view(), block.norm2.bias.view(), eps,
                         buffers.normed));
  FOVEA_CHECK(block.fc1.apply(context, buffers.normed, buffers.mlp,
                              {.activation = config.activation, .accumulate = false}));
  return block.fc2.apply(context, buffers.mlp, hidden, kOntoResidual);
}

VitBlockView block_view(const VitConfig& config, int layer, const VitRows& rows,
                        const VitBuffers& buffers, ConstTensorView hidden) {
  VitBlockView view;
  view.layer = layer;
  view.rows = &rows;
  view.query = heads_view(buffers.qkv, 0, config);
  view.key = heads_view(buffers.qkv, config.hidden_size, config);
  view.gathered = heads_view(buffers.gathered, 0, config);
  view.lse = buffers.lse;
  view.hidden = hidden;
  view.scale = config.attention_scale();
  return view;
}

}  // namespace fovea
