#include "vlm/picture_features.h"

#include <array>
#include <cstring>

#include "kernels/copy.h"
#include "kernels/ops/gather/gather.h"
#include "vision/preprocess.h"
#include "vlm/stopwatch.h"

namespace fovea {

namespace {

/// Hashes of size and pixels with the splitmix64 finaliser over 8-byte words; two seeds give two
/// independent keys. Each waits for its own last step, so that both take the time of one.
std::array<std::uint64_t, 2> hash_image(const Image& image, std::array<std::uint64_t, 2> seeds) {
  const auto mix = [](std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
  };
  const std::uint64_t size =
      (static_cast<std::uint64_t>(image.width) << 32) + static_cast<std::uint64_t>(image.height);
  std::uint64_t first = mix(seeds[0] + size), second = mix(seeds[1] + size);
  std::size_t i = 0;
  for (; i + 8 <= image.rgb.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, image.rgb.data() + i, 8);
    first = mix(first + word);
    second = mix(second + word);
  }
  std::uint64_t tail = 0;
  if (i < image.rgb.size()) std::memcpy(&tail, image.rgb.data() + i, image.rgb.size() - i);
  return {mix(first + tail), mix(second + tail)};
}

/// What goes into the projector: the rows that the model selects, of those a pruner left.
Result<ConstTensorView> select_rows(Context& context, const LlavaConfig& config, TowerTokens left,
                                    EncodedPicture& encoded) {
  std::vector<std::int32_t> chosen, rows;
  for (std::size_t i = 0; i < left.rows.size(); ++i) {
    const bool leaves = left.rows[i] == 0 && config.drop_class_token && !left.keeps_class_token;
    if (leaves) continue;
    if (auto merged = left.merged.find(static_cast<std::int32_t>(i)); merged != left.merged.end()) {
      encoded.merged[static_cast<std::int32_t>(chosen.size())] = std::move(merged->second);
    }
    chosen.push_back(static_cast<std::int32_t>(i));
    rows.push_back(left.rows[i]);
  }
  if (!left.stages.empty()) encoded.tower_rows = std::move(rows);
  encoded.stages = std::move(left.stages);
  const Shape shape{static_cast<std::int64_t>(chosen.size()), config.vision.hidden_size};
  FOVEA_TRY(const TensorView selected, context.workspace.take(shape, DType::f32));
  FOVEA_CHECK(gather_rows(context, left.hidden.view(), chosen, selected));
  return ConstTensorView(selected);
}

}  // namespace

Result<EncodedPicture> encode_picture(Context& context, const LlavaModel& model,
                                      ConstTensorView pixels, TowerPruner* pruner) {
  Workspace::Scope scope(context.workspace);
  Workspace::Scope host_scope(context.host().workspace);
  const LlavaConfig& config = model.config();
  EncodedPicture encoded;
  Stopwatch watch;
  ConstTensorView selected;
  if (pruner != nullptr) {
    FOVEA_TRY(TowerTokens left, pruner->run(context, model.vision(), pixels));
    FOVEA_TRY(selected, select_rows(context, config, std::move(left), encoded));
  } else {
    FOVEA_TRY(const TensorView hidden,
              context.workspace.take(Shape{config.vision.tokens(), config.vision.hidden_size},
                                     DType::f32));
    FOVEA_CHECK(model.vision().forward(context, pixels, hidden));
    // The class token comes first; select strategy "default" leaves it out.
    const std::int64_t count = config.visual_tokens_per_image();
    selected = hidden.slice(hidden.rows() - count, count);
  }
  FOVEA_CHECK(synchronize(context));  // the times below are of finished work
  encoded.vision_ms = watch.lap_ms();
  FOVEA_TRY(encoded.tokens, Tensor::allocate(Shape{selected.rows(), config.decoder.hidden_size},
                                             DType::f32, context.device));
  FOVEA_CHECK(model.projector().forward(context, selected, encoded.tokens.view()));
  FOVEA_CHECK(synchronize(context));
  encoded.projector_ms = watch.lap_ms();
  return encoded;
}

Result<PictureFeatureCache::Found> PictureFeatureCache::get(
    Context& context, const LlavaModel& model, const Image& image, AspectMode aspect,
    const std::shared_ptr<TowerPruner>& pruner) {
  const auto [key, check] = hash_image(image, {aspect == AspectMode::pad ? 1u : 2u, 3u});
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->features->content == key && entry->check == check && entry->aspect == aspect &&
        entry->pruner == pruner) {
      entries_.splice(entries_.begin(), entries_, entry);
      return Found{entries_.front().features, false};
    }
  }

  PreprocessConfig config = model.config().preprocess;
  config.aspect = aspect;
  auto features = std::make_shared<PictureFeatures>();
  features->content = key;
  Stopwatch watch;
  PreparedPictures own;
  FOVEA_TRY(const auto prepared, (shared_ != nullptr ? *shared_ : own).get(context, image, config));
  features->preprocess_ms = watch.lap_ms();
  features->rect = prepared->rect;
  features->size = {image.width, image.height};
  FOVEA_TRY(EncodedPicture encoded,
            encode_picture(context, model, prepared->pixels.view(), pruner.get()));
  features->tokens = std::move(encoded.tokens);
  features->tower_rows = std::move(encoded.tower_rows);
  features->merged = std::move(encoded.merged);
  features->stages = std::move(encoded.stages);
  features->vision_ms = encoded.vision_ms;
  features->projector_ms = encoded.projector_ms;
  entries_.push_front({check, aspect, pruner, features});
  const auto held = [&] {
    std::size_t bytes = 0;
    for (const Entry& entry : entries_) {
      bytes += static_cast<std::size_t>(entry.features->tokens.shape().elements()) * sizeof(float);
    }
    return bytes;
  };
  while (entries_.size() > capacity_ || (entries_.size() > 1 && held() > bytes_)) {
    entries_.pop_back();
  }
  return Found{std::move(features), true};
}

}  // namespace fovea
