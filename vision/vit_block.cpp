#include "vision/vit_block.h"

#include <vector>

#include "kernels/copy.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/norm/norm.h"
#include "kernels/ops/patches/patches.h"

namespace fovea {

namespace {

/// Columns [begin, begin + heads * head_dim) of a [rows, width] block, as [rows, heads, head_dim].
TensorView heads_view(TensorView block, std::int64_t begin, const VitConfig& config) {
  TensorView view(block.data + static_cast<std::size_t>(begin) * dtype_size(block.dtype),
                  block.dtype, {block.rows(), config.heads, config.head_dim()}, block.device);
  view.row_stride = block.row_stride;
  return view;
}

/// Each picture's tokens see each other.
Status attend(Context& context, const VitConfig& config, const VitRows& rows,
              const VitBuffers& buffers, const VitKeys& keys,
              std::span<const float* const> key_bias) {
  AttentionArgs args;
  args.query = heads_view(buffers.qkv, 0, config);
  args.row_offsets = rows.offsets;
  args.kv = keys.views();
  args.mask = MaskKind::full;
  args.scale = config.attention_scale();
  args.key_bias = key_bias;
  args.out = heads_view(buffers.gathered, 0, config);
  args.lse = buffers.lse;
  return attention(context, args);
}

}  // namespace

/// hidden = positions (with the special tokens' embeddings), plus those of the patches; then CLIP's
/// first norm where there is one. One picture at a time: its patches lie apart from the next one's.
Status embed_pictures(Context& context, const VitConfig& config, const VitWeights& weights,
                      ConstTensorView pixels, TensorView hidden) {
  const Workspace::Scope scope(context.workspace);
  const std::int64_t inputs = config.channels * config.patch_size * config.patch_size;
  FOVEA_TRY(const TensorView patches,
            context.workspace.take({config.patches(), inputs}, weights.activations));
  for (std::int64_t picture = 0; picture < pixels.rows(); ++picture) {
    ConstTensorView one = pixels.slice(picture, 1);
    one.shape = {config.channels, config.image_size, config.image_size};
    one.row_stride = one.inner_elements();
    FOVEA_CHECK(cut_patches(context, one, config.patch_size, patches));
    const TensorView states = hidden.slice(picture * config.tokens(), config.tokens());
    FOVEA_CHECK(copy(context, weights.positions.view(), states));
    FOVEA_CHECK(weights.patch_embedding.apply(
        context, patches, states.slice(config.prefix_tokens(), config.patches()),
        {.activation = Activation::none, .accumulate = true}));
  }
  if (!config.pre_norm) return {};
  return layer_norm(context, hidden, weights.pre_norm.weight.view(), weights.pre_norm.bias.view(),
                    static_cast<float>(config.layer_norm_eps), hidden);
}

KvView key_view(ConstTensorView key, const std::byte* const* page, std::int32_t tokens,
                const std::int32_t* length) {
  KvView kv;
  kv.key_pages = page;
  kv.page_tokens = tokens;
  kv.max_length = tokens;
  kv.length = length;
  kv.dtype = key.dtype;
  kv.kv_heads = static_cast<std::int32_t>(key.shape[1]);
  kv.head_dim = static_cast<std::int32_t>(key.shape[2]);
  kv.key_head_stride = key.shape[2];
  kv.key_token_stride = key.row_stride;
  return kv;
}

Result<KvView> key_view(Context& context, ConstTensorView key) {
  const auto tokens = static_cast<std::int32_t>(key.rows());
  FOVEA_TRY(const TensorView page, context.workspace.take({1}, DType::i64));
  FOVEA_TRY(const TensorView length, context.workspace.take({1}, DType::i32));
  const std::byte* const address = key.data;
  FOVEA_CHECK(copy(context,
                   ConstTensorView(reinterpret_cast<const std::byte*>(&address), DType::i64, {1}),
                   page));
  FOVEA_CHECK(copy(context,
                   ConstTensorView(reinterpret_cast<const std::byte*>(&tokens), DType::i32, {1}),
                   length));
  return key_view(key, page.as<const std::byte*>(), tokens, length.as<std::int32_t>());
}

Result<VitKeys> VitKeys::reserve(Context& context, std::int64_t pictures) {
  VitKeys keys;
  if (context.on_cuda()) {
    FOVEA_TRY(keys.pages_there_, context.workspace.take({2 * pictures}, DType::i64));
    FOVEA_TRY(keys.lengths_there_, context.workspace.take({pictures}, DType::i32));
  }
  return keys;
}

Status VitKeys::point_at(Context& context, const VitConfig& config, const VitRows& rows,
                         const VitBuffers& buffers) {
  const TensorView key = heads_view(buffers.qkv, config.hidden_size, config);
  const TensorView value = heads_view(buffers.qkv, 2 * config.hidden_size, config);
  const std::int64_t pictures = rows.pictures();
  const auto count = static_cast<std::size_t>(pictures);
  pages_.resize(2 * count);
  lengths_.resize(count);
  for (std::int64_t p = 0; p < pictures; ++p) {
    const auto index = static_cast<std::size_t>(p);
    lengths_[index] = static_cast<std::int32_t>(rows.count(p));
    pages_[index] = key.slice(rows.first(p), rows.count(p)).data;
    pages_[index + count] = value.slice(rows.first(p), rows.count(p)).data;
  }
  const std::byte* const* pages = pages_.data();
  const std::int32_t* lengths = lengths_.data();
  if (context.on_cuda()) {
    const ConstTensorView addresses(reinterpret_cast<const std::byte*>(pages_.data()), DType::i64,
                                    {2 * pictures});
    FOVEA_CHECK(copy(context, addresses, pages_there_.slice(0, 2 * pictures)));
    FOVEA_CHECK(copy(context,
                     ConstTensorView(reinterpret_cast<const std::byte*>(lengths_.data()),
                                     DType::i32, {pictures}),
                     lengths_there_.slice(0, pictures)));
    pages = pages_there_.as<const std::byte*>();
    lengths = lengths_there_.as<std::int32_t>();
  }
  views_.resize(count);
  for (std::size_t p = 0; p < count; ++p) {
    views_[p] = key_view(key, pages + p, lengths_[p], lengths + p);
    views_[p].value_pages = pages + count + p;
    views_[p].value_head_stride = config.head_dim();
    views_[p].value_token_stride = value.row_stride;
  }
  return {};
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

Result<VitBuffers> take_vit_buffers(Context& context, const VitConfig& config, DType activations,
                                    std::int64_t rows, bool watched) {
  VitBuffers buffers;
  const std::int64_t hidden = config.hidden_size;
  FOVEA_TRY(buffers.normed, context.workspace.take({rows, hidden}, activations));
  FOVEA_TRY(buffers.qkv, context.workspace.take({rows, 3 * hidden}, activations));
  FOVEA_TRY(buffers.mlp, context.workspace.take({rows, config.intermediate_size}, activations));
  buffers.gathered = buffers.normed;
  if (watched) {
    FOVEA_TRY(buffers.gathered, context.workspace.take({rows, hidden}, activations));
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
                         const VitRows& rows, const VitBuffers& buffers, const VitKeys& keys,
                         std::span<const float* const> key_bias, TensorView hidden) {
  const auto eps = static_cast<float>(config.layer_norm_eps);
  FOVEA_CHECK(layer_norm(context, hidden, block.norm1.weight.view(), block.norm1.bias.view(), eps,
                         buffers.normed));
  FOVEA_CHECK(block.qkv.apply(context, buffers.normed, buffers.qkv));
  FOVEA_CHECK(attend(context, config, rows, buffers, keys, key_bias));
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
