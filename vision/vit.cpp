#include "vision/vit.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/gather/gather.h"
#include "vision/vit_block.h"
#include "vision/vit_replay.h"
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

/// What a block shows, in the host's memory.
Result<VitBlockView> view_on_host(Context& context, VitBlockView view) {
  for (const auto part : {&VitBlockView::query, &VitBlockView::key, &VitBlockView::gathered,
                          &VitBlockView::lse, &VitBlockView::hidden}) {
    FOVEA_TRY(view.*part, to_host(context, view.*part));
  }
  return view;
}

Status check_arguments(const VitConfig& config, ConstTensorView pixels, TensorView out) {
  const std::int64_t pictures = pixels.shape.rank() == 4 ? pixels.shape[0] : 0;
  const Shape wanted{pictures, config.channels, config.image_size, config.image_size};
  const Shape states{pictures * config.tokens(), config.hidden_size};
  if (pictures < 1 || pixels.shape != wanted || pixels.dtype != DType::f32 ||
      !pixels.contiguous()) {
    return make_error(ErrorCode::usage, "the vision tower reads pixels " + wanted.to_string() +
                                            ", found " + pixels.shape.to_string());
  }
  if (out.shape != states || out.dtype != DType::f32) {
    return make_error(ErrorCode::usage, "the vision tower writes states " + states.to_string() +
                                            ", found room for " + out.shape.to_string());
  }
  return {};
}

VitRows all_rows(const VitConfig& config, std::int64_t pictures) {
  VitRows rows;
  for (std::int64_t picture = 0; picture <= pictures; ++picture) {
    rows.offsets.push_back(static_cast<std::int32_t>(picture * config.tokens()));
  }
  for (std::int64_t row = 0; row < pictures * config.tokens(); ++row) {
    rows.tokens.push_back(static_cast<std::int32_t>(row % config.tokens()));
  }
  return rows;
}

/// Moves the kept rows together.
Status compact(Context& context, const VitConfig& config, const std::vector<std::int32_t>& keep,
               VitRows& rows, TensorView hidden) {
  const auto wrong = [](const char* what) {
    return make_error(ErrorCode::usage, std::string("a reducer of the vision tower ") + what);
  };
  VitRows left;
  left.offsets.assign(1, 0);
  std::size_t next = 0;
  for (std::int64_t picture = 0; picture < rows.pictures(); ++picture) {
    const std::int64_t first = rows.first(picture), end = rows.first(picture + 1);
    const std::size_t begin = next;
    for (; next < keep.size() && keep[next] < end; ++next) {
      const std::int32_t row = keep[next];
      if (row < first || (next > begin && row <= keep[next - 1])) {
        return wrong("gave rows that do not ascend");
      }
      left.tokens.push_back(rows.tokens[static_cast<std::size_t>(row)]);
    }
    for (std::int64_t special = 0; special < config.prefix_tokens(); ++special) {
      const std::size_t place = begin + static_cast<std::size_t>(special);
      if (place >= next || keep[place] != first + special) return wrong("dropped a class token");
    }
    left.offsets.push_back(static_cast<std::int32_t>(next));
  }
  if (next != keep.size()) return wrong("kept a row that is not there");
  const Workspace::Scope scope(context.workspace);
  const auto count = static_cast<std::int64_t>(keep.size());
  FOVEA_TRY(const TensorView kept, context.workspace.take({count, config.hidden_size}, DType::f32));
  FOVEA_CHECK(gather_rows(context, hidden, keep, kept));
  FOVEA_CHECK(copy(context, kept, hidden.slice(0, count)));
  rows = std::move(left);
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

int VitEncoder::run_layers() const {
  return static_cast<int>(impl_->weights.blocks.size());
}

Status VitEncoder::forward(Context& context, ConstTensorView pixels, TensorView out,
                           const VitObserver& observer) const {
  if (pixels.shape.rank() != 3 || !pixels.contiguous()) {
    return make_error(ErrorCode::usage, "the vision tower reads the pixels of one picture, found " +
                                            pixels.shape.to_string());
  }
  const Shape& shape = pixels.shape;
  const ConstTensorView one(pixels.data, pixels.dtype, {1, shape[0], shape[1], shape[2]},
                            pixels.device);
  VitHooks hooks;
  hooks.observer = observer;
  FOVEA_CHECK(forward_batch(context, one, out, hooks));
  return {};
}

Result<VitRows> VitEncoder::forward_batch(Context& context, ConstTensorView pixels, TensorView out,
                                          const VitHooks& hooks) const {
  const VitConfig& config = impl_->config;
  FOVEA_CHECK(check_arguments(config, pixels, out));
  const Workspace::Scope scope(context.workspace);
  const bool watched = hooks.observer || hooks.beside || hooks.reducer != nullptr;
  if (hooks.merger != nullptr) {
    if (watched) {
      return make_error(ErrorCode::internal, "tokens that are being merged cannot be watched");
    }
    FOVEA_CHECK(hooks.merger->start(context, pixels.rows()));
  }
  VitRows rows = all_rows(config, pixels.rows());
  if (context.on_cuda() && !watched && hooks.merger == nullptr && pixels.rows() == 1) {
    if (context.cancelled()) {
      return make_error(ErrorCode::cancelled, "stopped while looking at the picture");
    }
    FOVEA_TRY(const bool done, replay_tower(context, config, impl_->weights, rows, pixels, out));
    if (done) return rows;
  }
  FOVEA_TRY(const VitBuffers buffers,
            take_vit_buffers(context, config, impl_->weights.activations, out.rows(), watched));
  FOVEA_TRY(const ConstTensorView seen, to_device(context, pixels));
  FOVEA_CHECK(embed_pictures(context, config, impl_->weights, seen, out));
  FOVEA_TRY(VitKeys keys, VitKeys::reserve(context, rows.pictures()));
  FOVEA_CHECK(keys.point_at(context, config, rows, buffers));
  std::vector<std::int32_t> keep;
  for (int layer = 0; layer < run_layers(); ++layer) {
    if (context.cancelled()) {
      return make_error(ErrorCode::cancelled, "stopped while looking at the picture");
    }
    if (hooks.reducer != nullptr) {
      keep.clear();
      FOVEA_CHECK(hooks.reducer->before_block(context, layer, rows, keep));
      if (!keep.empty()) {
        FOVEA_CHECK(compact(context, config, keep, rows, out));
        FOVEA_CHECK(
            keys.point_at(context, config, rows, first_rows(buffers, config.heads, rows.count())));
      }
    }
    TensorView hidden = out.slice(0, rows.count());
    VitBuffers used = first_rows(buffers, config.heads, rows.count());
    const VitBlockWeights& block = impl_->weights.blocks[static_cast<std::size_t>(layer)];
    const Workspace::Scope block_scope(context.workspace);
    std::span<const float* const> bias;
    if (hooks.merger != nullptr) bias = hooks.merger->key_bias();
    FOVEA_CHECK(run_vit_attention(context, config, block, rows, used, keys, bias, hidden));
    if (hooks.merger != nullptr) {
      const VitRows before = rows;
      const VitBlockView attended = block_view(config, layer, before, used, hidden);
      FOVEA_CHECK(hooks.merger->after_attention(context, attended, rows, hidden));
      hidden = out.slice(0, rows.count());
      used = first_rows(buffers, config.heads, rows.count());
      FOVEA_CHECK(keys.point_at(context, config, rows, used));
    }
    FOVEA_CHECK(run_vit_mlp(context, config, block, used, hidden));
    const bool reduces = hooks.reducer != nullptr && hooks.reducer->watches(layer);
    const VitBlockView view = block_view(config, layer, rows, used, hidden);
    if (reduces) FOVEA_CHECK(hooks.reducer->after_block(context, view));
    if (hooks.beside) FOVEA_CHECK(hooks.beside(context, view));
    if (!hooks.observer) continue;
    const Workspace::Scope host_scope(context.host().workspace);
    FOVEA_TRY(const VitBlockView seen_there, view_on_host(context, view));
    FOVEA_CHECK(hooks.observer(context.host(), seen_there));
  }
  if (hooks.merger != nullptr) FOVEA_CHECK(hooks.merger->finish(rows));
  return rows;
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
