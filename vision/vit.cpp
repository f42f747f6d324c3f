#include "vision/vit.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "kernels/base/parallel.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/norm/norm.h"
#include "vision/vit_weights.h"

namespace fovea {

struct VitEncoder::Impl {
  VitConfig config;
  VitWeights weights;
};

VitEncoder::VitEncoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VitEncoder::VitEncoder(VitEncoder&&) noexcept = default;
VitEncoder& VitEncoder::operator=(VitEncoder&&) noexcept = default;
VitEncoder::~VitEncoder() = default;

namespace {

/// Cuts the picture into patches, one per row of `patches`: channel, then row, then column, the
/// order in which the weight of a convolution lies.
void cut_patches(const Context& context, const VitConfig& config, const float* pixels,
                 TensorView patches) {
  const std::int64_t grid = config.grid(), patch = config.patch_size, side = config.image_size;
  parallel_for(context.threads, patches.rows(), grid, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t index = begin; index < end; ++index) {
      auto* out = patches.row<float>(index);
      const float* corner = pixels + index / grid * patch * side + index % grid * patch;
      for (std::int64_t channel = 0; channel < config.channels; ++channel) {
        for (std::int64_t y = 0; y < patch; ++y, out += patch) {
          std::copy_n(corner + (channel * side + y) * side, patch, out);
        }
      }
    }
  });
}

/// Columns [begin, begin + heads * head_dim) of a [rows, width] block, as [rows, heads, head_dim].
TensorView heads_view(TensorView block, std::int64_t begin, std::int64_t heads,
                      std::int64_t head_dim) {
  TensorView view(block.data + static_cast<std::size_t>(begin) * sizeof(float), DType::f32,
                  {block.rows(), heads, head_dim}, block.device);
  view.row_stride = block.row_stride;
  return view;
}

/// Scratch memory of one forward pass; all f32.
struct Buffers {
  TensorView normed;  // [tokens, hidden]: a block's normed input, then what attention gathered
  TensorView qkv;     // [tokens, 3 * hidden]
  TensorView mlp;     // [tokens, intermediate]
  TensorView lse;     // [heads, tokens], only when somebody watches
};

Result<Buffers> take_buffers(Context& context, const VitConfig& config, bool watched) {
  Buffers buffers;
  const std::int64_t tokens = config.tokens(), hidden = config.hidden_size;
  FOVEA_TRY(buffers.normed, context.workspace.take({tokens, hidden}, DType::f32));
  FOVEA_TRY(buffers.qkv, context.workspace.take({tokens, 3 * hidden}, DType::f32));
  FOVEA_TRY(buffers.mlp, context.workspace.take({tokens, config.intermediate_size}, DType::f32));
  if (watched) {
    FOVEA_TRY(buffers.lse, context.workspace.take({config.heads, tokens}, DType::f32));
  }
  return buffers;
}

/// hidden = positions (the class token's first), plus the patches' embeddings; then CLIP's first
/// norm.
Status embed(Context& context, const VitConfig& config, const VitWeights& weights,
             ConstTensorView pixels, TensorView hidden) {
  const Workspace::Scope scope(context.workspace);
  const std::int64_t inputs = config.channels * config.patch_size * config.patch_size;
  FOVEA_TRY(const TensorView patches,
            context.workspace.take({config.patches(), inputs}, DType::f32));
  cut_patches(context, config, pixels.as<float>(), patches);
  const ConstTensorView positions = weights.positions.view();
  for (std::int64_t token = 0; token < config.tokens(); ++token) {
    std::copy_n(positions.row<float>(token), config.hidden_size, hidden.row<float>(token));
  }
  FOVEA_CHECK(weights.patch_embedding.apply(context, patches, hidden.slice(1, config.patches()),
                                            {.activation = Activation::none, .accumulate = true}));
  return layer_norm(context, hidden, weights.pre_norm.weight.view(), weights.pre_norm.bias.view(),
                    static_cast<float>(config.layer_norm_eps), hidden);
}

Status run_block(Context& context, const VitConfig& config, const VitBlockWeights& block,
                 const Buffers& buffers, TensorView hidden) {
  const auto eps = static_cast<float>(config.layer_norm_eps);
  const Epilogue onto_residual{.activation = Activation::none, .accumulate = true};
  const std::int64_t width = config.hidden_size, head_dim = config.head_dim();

  FOVEA_CHECK(layer_norm(context, hidden, block.norm1.weight.view(), block.norm1.bias.view(), eps,
                         buffers.normed));
  FOVEA_CHECK(block.qkv.apply(context, buffers.normed, buffers.qkv));

  const auto length = static_cast<std::int32_t>(config.tokens());
  const std::array<std::int32_t, 2> row_offsets{0, length};
  const TensorView key = heads_view(buffers.qkv, width, config.heads, head_dim);
  const TensorView value = heads_view(buffers.qkv, 2 * width, config.heads, head_dim);
  const std::byte* key_page = key.data;
  const std::byte* value_page = value.data;
  KvView kv;
  kv.key_pages = &key_page;
  kv.value_pages = &value_page;
  kv.page_tokens = length;
  kv.length = &length;
  kv.kv_heads = static_cast<std::int32_t>(config.heads);
  kv.head_dim = static_cast<std::int32_t>(head_dim);
  kv.key_head_stride = kv.value_head_stride = head_dim;
  kv.key_token_stride = kv.value_token_stride = buffers.qkv.row_stride;

  AttentionArgs args;
  args.query = heads_view(buffers.qkv, 0, config.heads, head_dim);
  args.row_offsets = row_offsets;
  args.kv = {&kv, 1};
  args.mask = MaskKind::full;
  args.scale = config.attention_scale();
  args.out = heads_view(buffers.normed, 0, config.heads, head_dim);
  args.lse = buffers.lse;
  FOVEA_CHECK(attention(context, args));
  FOVEA_CHECK(block.out.apply(context, buffers.normed, hidden, onto_residual));

  FOVEA_CHECK(layer_norm(context, hidden, block.norm2.weight.view(), block.norm2.bias.view(), eps,
                         buffers.normed));
  FOVEA_CHECK(block.fc1.apply(context, buffers.normed, buffers.mlp,
                              {.activation = config.activation, .accumulate = false}));
  return block.fc2.apply(context, buffers.mlp, hidden, onto_residual);
}

Status check_arguments(const VitConfig& config, ConstTensorView pixels, TensorView out) {
  const Shape picture{config.channels, config.image_size, config.image_size};
  const Shape states{config.tokens(), config.hidden_size};
  if (pixels.shape != picture || pixels.dtype != DType::f32 || !pixels.contiguous()) {
    return make_error(ErrorCode::usage, "the vision tower reads pixels " + picture.to_string() +
                                            ", found " + pixels.shape.to_string());
  }
  if (out.shape != states || out.dtype != DType::f32) {
    return make_error(ErrorCode::usage, "the vision tower writes states " + states.to_string() +
                                            ", found room for " + out.shape.to_string());
  }
  return {};
}

}  // namespace

Result<VitEncoder> VitEncoder::load(Context& context, const VitConfig& config,
                                    const WeightReader& weights, LinearDType dtype,
                                    int run_layers) {
  FOVEA_TRY(VitWeights loaded, load_vit_weights(context, config, weights, dtype, run_layers));
  return VitEncoder(std::make_unique<Impl>(Impl{config, std::move(loaded)}));
}

Result<VitEncoder> VitEncoder::random(Context& context, const VitConfig& config, LinearDType dtype,
                                      int run_layers, std::uint64_t seed) {
  FOVEA_TRY(VitWeights made, random_vit_weights(context, config, dtype, run_layers, seed));
  return VitEncoder(std::make_unique<Impl>(Impl{config, std::move(made)}));
}

const VitConfig& VitEncoder::config() const {
  return impl_->config;
}

Status VitEncoder::forward(Context& context, ConstTensorView pixels, TensorView out,
                           const VitObserver& observer) const {
  const VitConfig& config = impl_->config;
  FOVEA_CHECK(check_arguments(config, pixels, out));
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const Buffers buffers, take_buffers(context, config, static_cast<bool>(observer)));
  FOVEA_CHECK(embed(context, config, impl_->weights, pixels, out));
  int layer = 0;
  for (const VitBlockWeights& block : impl_->weights.blocks) {
    if (context.cancelled()) {
      return make_error(ErrorCode::cancelled, "stopped while looking at the picture");
    }
    FOVEA_CHECK(run_block(context, config, block, buffers, out));
    if (observer) {
      VitBlockView view;
      view.layer = layer;
      view.query = heads_view(buffers.qkv, 0, config.heads, config.head_dim());
      view.key = heads_view(buffers.qkv, config.hidden_size, config.heads, config.head_dim());
      view.lse = buffers.lse;
      view.hidden = out;
      view.scale = config.attention_scale();
      FOVEA_CHECK(observer(context, view));
    }
    ++layer;
  }
  return {};
}

std::vector<std::array<std::int64_t, 3>> VitEncoder::products() const {
  const VitWeights& weights = impl_->weights;
  const std::int64_t tokens = impl_->config.tokens();
  std::vector<std::array<std::int64_t, 3>> products;
  const auto add = [&products](std::int64_t rows, const Linear& linear) {
    products.push_back({rows, linear.inputs(), linear.outputs()});
  };
  add(impl_->config.patches(), weights.patch_embedding);
  for (const VitBlockWeights& block : weights.blocks) {
    add(tokens, block.qkv);
    add(tokens, block.out);
    add(tokens, block.fc1);
    add(tokens, block.fc2);
  }
  return products;
}

std::size_t VitEncoder::weight_bytes() const {
  return impl_->weights.bytes();
}

}  // namespace fovea
