#include "vlm/picture_features.h"

#include <cstring>

#include "vision/preprocess.h"
#include "vlm/stopwatch.h"

namespace fovea {

namespace {

/// Hash of size and pixels with the splitmix64 finaliser over 8-byte words; two seeds give two
/// independent keys.
std::uint64_t hash_image(const Image& image, std::uint64_t seed) {
  const auto mix = [](std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
  };
  std::uint64_t state = mix(seed + (static_cast<std::uint64_t>(image.width) << 32) +
                            static_cast<std::uint64_t>(image.height));
  std::size_t i = 0;
  for (; i + 8 <= image.rgb.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, image.rgb.data() + i, 8);
    state = mix(state + word);
  }
  std::uint64_t tail = 0;
  if (i < image.rgb.size()) std::memcpy(&tail, image.rgb.data() + i, image.rgb.size() - i);
  return mix(state + tail);
}

}  // namespace

Result<EncodedPicture> encode_picture(Context& context, const LlavaModel& model,
                                      ConstTensorView pixels) {
  Workspace::Scope scope(context.workspace);
  const LlavaConfig& config = model.config();
  EncodedPicture encoded;
  Stopwatch watch;
  FOVEA_TRY(
      const TensorView hidden,
      context.workspace.take(Shape{config.vision.tokens(), config.vision.hidden_size}, DType::f32));
  FOVEA_CHECK(model.vision().forward(context, pixels, hidden));
  encoded.vision_ms = watch.lap_ms();
  const std::int64_t count = config.visual_tokens_per_image();
  FOVEA_TRY(encoded.tokens, Tensor::allocate(Shape{count, config.decoder.hidden_size}, DType::f32));
  // The class token comes first; select strategy "default" leaves it out.
  FOVEA_CHECK(model.projector().forward(context, hidden.slice(hidden.rows() - count, count),
                                        encoded.tokens.view()));
  encoded.projector_ms = watch.lap_ms();
  return encoded;
}

Result<PictureFeatureCache::Found> PictureFeatureCache::get(Context& context,
                                                            const LlavaModel& model,
                                                            const Image& image, AspectMode aspect) {
  const std::uint64_t key = hash_image(image, aspect == AspectMode::pad ? 1 : 2);
  const std::uint64_t check = hash_image(image, 3);
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->features->content == key && entry->check == check && entry->aspect == aspect) {
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
  FOVEA_TRY(EncodedPicture encoded, encode_picture(context, model, prepared->pixels.view()));
  features->tokens = std::move(encoded.tokens);
  features->vision_ms = encoded.vision_ms;
  features->projector_ms = encoded.projector_ms;
  entries_.push_front({check, aspect, features});
  if (entries_.size() > capacity_) entries_.pop_back();
  return Found{std::move(features), true};
}

}  // namespace fovea
