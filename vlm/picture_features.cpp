#include "vlm/picture_features.h"

#include <array>
#include <cstring>
#include <utility>

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

Status PicturesUnderWay::settle() {
  const auto count = static_cast<double>(pictures.size());
  FOVEA_TRY(const double projector_ms, projected.ms_since(seen));
  FOVEA_TRY(const double vision_ms, seen.ms_since(begun));
  for (EncodedPicture& one : pictures) {
    one.vision_ms = vision_ms / count;
    one.projector_ms = projector_ms / count;
  }
  return {};
}

Result<PicturesUnderWay> encode_pictures(Context& context, const LlavaModel& model,
                                         std::span<const ConstTensorView> pixels) {
  Workspace::Scope scope(context.workspace);
  const LlavaConfig& config = model.config();
  const auto pictures = static_cast<std::int64_t>(pixels.size());
  const std::int64_t rows = config.vision.tokens();
  const std::int64_t side = config.vision.image_size;
  PicturesUnderWay under_way;
  FOVEA_TRY(under_way.begun, Milestone::mark(context));
  FOVEA_TRY(const TensorView together,
            context.workspace.take({pictures, config.vision.channels, side, side}, DType::f32));
  for (std::int64_t p = 0; p < pictures; ++p) {
    TensorView place = together.slice(p, 1);
    place.shape = pixels[static_cast<std::size_t>(p)].shape;
    place.row_stride = place.inner_elements();
    FOVEA_CHECK(copy(context, pixels[static_cast<std::size_t>(p)], place));
  }
  FOVEA_TRY(const TensorView hidden,
            context.workspace.take({pictures * rows, config.vision.hidden_size}, DType::f32));
  FOVEA_CHECK(model.vision().forward_batch(context, together, hidden));
  FOVEA_TRY(under_way.seen, Milestone::mark(context));
  // The class tokens go through the projector too: that costs less than closing their gaps.
  const std::int64_t width = config.decoder.hidden_size;
  FOVEA_TRY(const TensorView projected,
            context.workspace.take({pictures * rows, width}, DType::f32));
  FOVEA_CHECK(model.projector().forward(context, hidden, projected));
  const std::int64_t count = config.visual_tokens_per_image();
  under_way.pictures.resize(pixels.size());
  for (std::int64_t p = 0; p < pictures; ++p) {
    Tensor& tokens = under_way.pictures[static_cast<std::size_t>(p)].tokens;
    FOVEA_TRY(tokens, Tensor::allocate({count, width}, DType::f32, context.device));
    FOVEA_CHECK(copy(context, projected.slice((p + 1) * rows - count, count), tokens.view()));
  }
  FOVEA_TRY(under_way.projected, Milestone::mark(context));
  return under_way;
}

std::shared_ptr<const PictureFeatures> PictureFeatureCache::find(
    const Key& key, AspectMode aspect, const std::shared_ptr<TowerPruner>& pruner) {
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->features->content == key[0] && entry->check == key[1] && entry->aspect == aspect &&
        entry->pruner == pruner) {
      entries_.splice(entries_.begin(), entries_, entry);
      return entries_.front().features;
    }
  }
  return nullptr;
}

Result<std::shared_ptr<PictureFeatures>> PictureFeatureCache::prepare(
    Context& context, const LlavaModel& model, const Image& image, AspectMode aspect,
    std::shared_ptr<const PreparedImage>& prepared) const {
  PreprocessConfig config = model.config().preprocess;
  config.aspect = aspect;
  auto features = std::make_shared<PictureFeatures>();
  Stopwatch watch;
  PreparedPictures own;
  FOVEA_TRY(prepared, (shared_ != nullptr ? *shared_ : own).get(context, image, config));
  features->preprocess_ms = watch.lap_ms();
  features->rect = prepared->rect;
  features->size = {image.width, image.height};
  return features;
}

PictureFeatureCache::Found PictureFeatureCache::keep(const Key& key, AspectMode aspect,
                                                     const std::shared_ptr<TowerPruner>& pruner,
                                                     std::shared_ptr<PictureFeatures> features,
                                                     EncodedPicture encoded) {
  features->content = key[0];
  features->tokens = std::move(encoded.tokens);
  features->tower_rows = std::move(encoded.tower_rows);
  features->merged = std::move(encoded.merged);
  features->stages = std::move(encoded.stages);
  features->vision_ms = encoded.vision_ms;
  features->projector_ms = encoded.projector_ms;
  entries_.push_front({key[1], aspect, pruner, features});
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
  return {std::move(features), true};
}

namespace {

/// What a picture is known by.
std::array<std::uint64_t, 2> key_of(const Image& image, AspectMode aspect) {
  return hash_image(image, {aspect == AspectMode::pad ? 1u : 2u, 3u});
}

}  // namespace

Result<PictureFeatureCache::Found> PictureFeatureCache::get(
    Context& context, const LlavaModel& model, const Image& image, AspectMode aspect,
    const std::shared_ptr<TowerPruner>& pruner) {
  const Key key = key_of(image, aspect);
  if (auto known = find(key, aspect, pruner)) return Found{std::move(known), false};
  std::shared_ptr<const PreparedImage> prepared;
  FOVEA_TRY(auto features, prepare(context, model, image, aspect, prepared));
  FOVEA_TRY(EncodedPicture encoded,
            encode_picture(context, model, prepared->pixels.view(), pruner.get()));
  return keep(key, aspect, pruner, std::move(features), std::move(encoded));
}

std::vector<Result<PictureFeatureCache::Found>> PictureFeatureCache::get_all(
    Context& context, const LlavaModel& model, std::span<const Image* const> images,
    AspectMode aspect, const std::shared_ptr<TowerPruner>& pruner) {
  std::vector<std::optional<Result<Found>>> found(images.size());
  struct Fresh {
    std::size_t place;
    Key key;
    std::shared_ptr<PictureFeatures> features;
    std::shared_ptr<const PreparedImage> prepared;
  };
  std::vector<Fresh> together;
  std::map<Key, std::size_t> first_places;
  std::vector<std::pair<std::size_t, std::size_t>> again;  // a place, and where it is shown first
  std::vector<std::pair<std::vector<Fresh>, PicturesUnderWay>> groups;
  // Perhaps there was room for fewer.
  const auto one_by_one = [&](const std::vector<Fresh>& group) {
    for (const Fresh& one : group) {
      found[one.place] = get(context, model, *images[one.place], aspect, pruner);
    }
  };
  const auto encode = [&]() {
    std::vector<ConstTensorView> pixels;
    for (const Fresh& one : together) pixels.push_back(one.prepared->pixels.view());
    if (auto encoded = encode_pictures(context, model, pixels)) {
      groups.emplace_back(std::move(together), std::move(*encoded));
    } else {
      one_by_one(together);
    }
    together.clear();
  };
  for (std::size_t place = 0; place < images.size(); ++place) {
    const Image& image = *images[place];
    if (pruner != nullptr) {
      found[place] = get(context, model, image, aspect, pruner);
      continue;
    }
    Fresh one{place, key_of(image, aspect), nullptr, nullptr};
    if (auto known = find(one.key, aspect, pruner)) {
      found[place] = Found{std::move(known), false};
      continue;
    }
    if (const auto [first, is_new] = first_places.emplace(one.key, place); !is_new) {
      again.emplace_back(place, first->second);
      continue;
    }
    auto features = prepare(context, model, image, aspect, one.prepared);
    if (!features) {
      found[place] = features.error();
      continue;
    }
    one.features = std::move(*features);
    together.push_back(std::move(one));
    if (together.size() == kPicturesAtOnce) encode();
  }
  if (!together.empty()) encode();
  for (auto& [group, under_way] : groups) {
    if (!under_way.settle()) {
      one_by_one(group);
      continue;
    }
    for (std::size_t i = 0; i < group.size(); ++i) {
      Fresh& one = group[i];
      found[one.place] =
          keep(one.key, aspect, pruner, std::move(one.features), std::move(under_way.pictures[i]));
    }
  }
  for (const auto& [place, first] : again) {
    found[place] = *found[first];
    if (*found[place]) (*found[place])->fresh = false;
  }
  std::vector<Result<Found>> all;
  for (auto& one : found) all.push_back(std::move(*one));
  return all;
}

}  // namespace fovea
