#include "vlm/decoder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/norm/norm.h"
#include "kernels/ops/rows/rows.h"
#include "vlm/decoder_impl.h"
#include "vlm/random_weights.h"

namespace fovea {

Decoder::Decoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;
Decoder::~Decoder() = default;

const DecoderConfig& Decoder::config() const {
  return impl_->config;
}

Result<Decoder> Decoder::load(Context& context, const DecoderConfig& config,
                              const WeightReader& weights, ConstTensorView lm_head,
                              LinearDType dtype) {
  auto impl = std::make_unique<Impl>();
  impl->config = config;
  impl->dtype = dtype;
  impl->device = context.device;
  FOVEA_TRY(impl->embeddings,
            weights.get("embed_tokens.weight", Shape{config.vocab_size, config.hidden_size}));
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    FOVEA_TRY(DecoderBlock block,
              DecoderBlock::load(context, config,
                                 weights.below("layers." + std::to_string(layer) + "."), dtype));
    impl->blocks.push_back(std::move(block));
  }
  FOVEA_TRY(Tensor final_norm, weights.get_f32("norm.weight", Shape{config.hidden_size}));
  FOVEA_TRY(impl->final_norm, move_to_device(context, std::move(final_norm)));
  FOVEA_TRY(impl->lm_head,
            Linear::create(context, lm_head.empty() ? impl->embeddings : lm_head, {}, dtype));
  if (context.on_cuda()) {
    FOVEA_TRY(impl->owned_embeddings,
              Tensor::allocate(impl->embeddings.shape, impl->embeddings.dtype, context.device));
    FOVEA_CHECK(copy(context, impl->embeddings, impl->owned_embeddings.view()));
    impl->embeddings = std::as_const(impl->owned_embeddings).view();
  }
  return Decoder(std::move(impl));
}

Result<Decoder> Decoder::random(Context& context, const DecoderConfig& config, LinearDType dtype,
                                std::uint64_t seed) {
  auto impl = std::make_unique<Impl>();
  impl->config = config;
  impl->dtype = dtype;
  impl->device = context.device;
  FOVEA_TRY(impl->owned_embeddings,
            random_matrix(context, config.vocab_size, config.hidden_size, seed));
  impl->embeddings = std::as_const(impl->owned_embeddings).view();
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    FOVEA_TRY(DecoderBlock block,
              DecoderBlock::random(context, config, dtype,
                                   seed + 16 * static_cast<std::uint64_t>(layer + 1)));
    impl->blocks.push_back(std::move(block));
  }
  FOVEA_TRY(Tensor final_norm, ones(config.hidden_size));
  FOVEA_TRY(impl->final_norm, move_to_device(context, std::move(final_norm)));
  FOVEA_TRY(impl->lm_head, Linear::create(context, impl->embeddings, {}, dtype));
  FOVEA_TRY(impl->owned_embeddings, move_to_device(context, std::move(impl->owned_embeddings)));
  impl->embeddings = std::as_const(impl->owned_embeddings).view();
  return Decoder(std::move(impl));
}

DecoderState Decoder::new_state() const {
  const DecoderConfig& config = impl_->config;
  DecoderState state;
  DType kept = DType::f32;
  if (impl_->dtype != LinearDType::f32) {
    kept = impl_->dtype == LinearDType::bf16 ? DType::bf16 : DType::f16;
  }
  state.cache = KvCache(static_cast<int>(config.layers), config.kv_heads, config.head_dim, kept,
                        impl_->device);
  state.next_position.assign(static_cast<std::size_t>(config.layers), 0);
  state.survivor_list.assign(static_cast<std::size_t>(config.layers), 0);
  state.survivors.emplace_back();
  return state;
}

namespace {

Error outside_vocabulary(std::int32_t id, const DecoderConfig& config) {
  return make_error(ErrorCode::usage, "token id " + std::to_string(id) +
                                          " is outside the model's vocabulary of " +
                                          std::to_string(config.vocab_size));
}

}  // namespace

Status Decoder::embed(Context& context, std::span<const std::int32_t> ids, TensorView out) const {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= impl_->config.vocab_size) return outside_vocabulary(id, impl_->config);
  }
  return gather_rows(context, impl_->embeddings, ids, out);
}

Status Decoder::logits(Context& context, ConstTensorView hidden, TensorView out) const {
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView normed,
            context.workspace.take(hidden.shape, activation_dtype(context, impl_->dtype)));
  FOVEA_CHECK(rms_norm(context, hidden, impl_->final_norm.view(),
                       static_cast<float>(impl_->config.rms_norm_eps), normed));
  return impl_->lm_head.apply(context, normed, out);
}

Status Decoder::Impl::trace_row(Context& context, const BlockAttention& attention,
                                std::int32_t visible, std::span<const std::int32_t> attending,
                                TracedRow& traced) {
  Workspace::Scope host_scope(context.host().workspace);
  const std::int64_t last = attention.query.rows() - 1;
  FOVEA_TRY(const ConstTensorView row, to_host(context, attention.query.slice(last, 1)));
  FOVEA_TRY(const ConstTensorView lse, to_host(context, attention.lse));
  const float* query = row.as<float>();
  traced.query.insert(traced.query.end(), query, query + attention.query.inner_elements());
  for (std::int64_t head = 0; head < attention.lse.rows(); ++head) {
    traced.lse.push_back(lse.row<float>(head)[last]);
  }
  traced.visible.push_back(visible);
  traced.attending.emplace_back(attending.begin(), attending.end());
  return {};
}

Status Decoder::Impl::show(Context& context, const DecoderState& state, int layer,
                           const BlockAttention& attention, AttentionObserver& observer) const {
  LayerAttention shown;
  shown.layer = layer;
  shown.query = attention.query;
  shown.lse = attention.lse;
  shown.kv = state.cache.view(layer);
  shown.scale = attention_scale(config);
  shown.slots = attention.slots;
  shown.prompt_keys = state.survivors[static_cast<std::size_t>(
      state.survivor_list[static_cast<std::size_t>(layer)])];
  return observer.observe(context, shown);
}

Status Decoder::check_step(const Context& context, std::int32_t token) const {
  if (token < 0 || token >= impl_->config.vocab_size)
    return outside_vocabulary(token, impl_->config);
  if (context.cancelled()) return make_error(ErrorCode::cancelled, "stopped while answering");
  return {};
}

Status Decoder::decode(Context& context, std::int32_t token, DecoderState& state, TensorView logits,
                       TracedRow* traced, AttentionObserver* observer) const {
  FOVEA_CHECK(check_step(context, token));
  if (context.on_cuda() && traced == nullptr && observer == nullptr) {
    return replay(context, token, state, logits);
  }
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView hidden,
            context.workspace.take(Shape{1, impl_->config.hidden_size}, DType::f32));
  FOVEA_CHECK(embed(context, std::array{token}, hidden));
  const std::vector<std::int32_t> positions = state.next_position;
  for (std::int32_t& position : state.next_position) ++position;
  FOVEA_TRY(const ConstTensorView all_positions, to_device(context, i32_view(positions)));
  for (int layer = 0; layer < static_cast<int>(impl_->blocks.size()); ++layer) {
    if (context.cancelled()) return make_error(ErrorCode::cancelled, "stopped while answering");
    const auto index = static_cast<std::size_t>(layer);
    Workspace::Scope layer_scope(context.workspace);
    const DecoderBlock& block = impl_->blocks[index];
    BlockAttention attention;
    const bool wanted = traced != nullptr || observer != nullptr;
    if (wanted) {
      FOVEA_TRY(attention,
                BlockAttention::reserve(context, impl_->config, {state.cache.length(layer)}));
    }
    {
      Workspace::Scope scratch(context.workspace);
      FOVEA_TRY(
          const BlockProjection projection,
          project_block(context, impl_->config, block, hidden, all_positions.slice(layer, 1)));
      FOVEA_CHECK(attend_block(context, impl_->config, block, projection, hidden, state.cache,
                               layer, {.kept = wanted ? &attention : nullptr}));
    }
    FOVEA_CHECK(run_mlp(context, impl_->config, block, hidden));
    if (traced != nullptr) {
      FOVEA_CHECK(Impl::trace_row(context, attention, state.cache.length(layer), {}, *traced));
    }
    if (observer != nullptr) {
      FOVEA_CHECK(impl_->show(context, state, layer, attention, *observer));
    }
  }
  return this->logits(context, hidden, logits);
}

std::vector<std::array<std::int64_t, 3>> Decoder::prefill_products(std::int64_t tokens) const {
  return prefill_products(std::vector<std::int64_t>(impl_->blocks.size(), tokens));
}

std::vector<std::array<std::int64_t, 3>> Decoder::prefill_products(
    std::span<const std::int64_t> entering) const {
  std::vector<std::array<std::int64_t, 3>> products;
  for (std::size_t layer = 0; layer < impl_->blocks.size(); ++layer) {
    const DecoderBlock& block = impl_->blocks[layer];
    // Past the keys and values, the last layer runs for the last row only.
    const std::int64_t tokens = entering[layer];
    const std::int64_t rows = layer + 1 < impl_->blocks.size() ? tokens : 1;
    products.push_back({tokens, block.qkv.inputs(), block.qkv.outputs()});
    products.push_back({rows, block.output.inputs(), block.output.outputs()});
    products.push_back({rows, block.gate_up.inputs(), block.gate_up.outputs()});
    products.push_back({rows, block.down.inputs(), block.down.outputs()});
  }
  products.push_back({1, impl_->lm_head.inputs(), impl_->lm_head.outputs()});
  return products;
}

std::vector<std::array<std::int64_t, 3>> Decoder::decode_products() const {
  return prefill_products(1);
}

std::size_t Decoder::weight_bytes() const {
  std::size_t bytes = impl_->lm_head.weight_bytes();
  for (const DecoderBlock& block : impl_->blocks) {
    bytes += block.qkv.weight_bytes() + block.output.weight_bytes() + block.gate_up.weight_bytes() +
             block.down.weight_bytes();
  }
  return bytes;
}

}  // namespace fovea
