#pragma once
// Pictures turned into visual tokens once, and found again by what they show.

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/context.h"
#include "kernels/fetch.h"
#include "vision/image.h"
#include "vision/tower_pruner.h"
#include "vlm/llava_model.h"
#include "vlm/prepared_pictures.h"

namespace fovea {

struct PictureFeatures {
  std::uint64_t content = 0;  // identifies pixels and preprocessing
  Tensor tokens;              // [visual tokens, decoder width] f32
  PixelRect rect;
  PictureSize size;  // of the original picture
  /// As in TowerTokens, when the tower pruned: the tokens' rows, and what each stage left.
  std::optional<std::vector<std::int32_t>> tower_rows;
  std::map<std::int32_t, std::vector<std::int32_t>> merged;
  std::vector<StageRecord> stages;
  double preprocess_ms = 0, vision_ms = 0, projector_ms = 0;  // of the run that made it
};

/// Vision tower and projector on prepared pixels [3, side, side].
struct EncodedPicture {
  Tensor tokens;  // f32 [visual tokens, decoder width]
  // As in PictureFeatures.
  std::optional<std::vector<std::int32_t>> tower_rows;
  std::map<std::int32_t, std::vector<std::int32_t>> merged;
  std::vector<StageRecord> stages;
  double vision_ms = 0, projector_ms = 0;
};

/// Keeps the features of the pictures used last. The key is a 64-bit hash of size and pixels, and
/// a hit must agree in a second, independent 64-bit hash.
class PictureFeatureCache {
 public:
  /// Keeps at most `capacity` pictures, and of more than one no more than `bytes` of tokens.
  explicit PictureFeatureCache(std::size_t capacity, std::size_t bytes = std::size_t{256} << 20)
      : capacity_(capacity), bytes_(bytes) {}

  struct Found {
    std::shared_ptr<const PictureFeatures> features;
    bool fresh = false;  // computed by this call
  };
  /// A null pruner runs the whole tower. Errors: those of preprocess(), VitEncoder::forward() and
  /// the pruner.
  Result<Found> get(Context& context, const LlavaModel& model, const Image& image,
                    AspectMode aspect, const std::shared_ptr<TowerPruner>& pruner = nullptr);
  /// The same for several pictures in as few passes through the tower as they need; of those with
  /// the same pixels only the first is computed. What is wrong with one is its own error.
  std::vector<Result<Found>> get_all(Context& context, const LlavaModel& model,
                                     std::span<const Image* const> images, AspectMode aspect,
                                     const std::shared_ptr<TowerPruner>& pruner = nullptr);
  /// From now on prepared pixels are taken from, and left in, a place where another model looks
  /// too; null: no such place.
  void share_preprocessing(PreparedPictures* shared) { shared_ = shared; }
  void clear() { entries_.clear(); }

 private:
  struct Entry {
    std::uint64_t check = 0;
    AspectMode aspect = AspectMode::crop;
    std::shared_ptr<TowerPruner> pruner;
    std::shared_ptr<const PictureFeatures> features;
  };
  using Key = std::array<std::uint64_t, 2>;  // content and check
  std::shared_ptr<const PictureFeatures> find(const Key& key, AspectMode aspect,
                                              const std::shared_ptr<TowerPruner>& pruner);
  Result<std::shared_ptr<PictureFeatures>> prepare(
      Context& context, const LlavaModel& model, const Image& image, AspectMode aspect,
      std::shared_ptr<const PreparedImage>& prepared) const;
  Found keep(const Key& key, AspectMode aspect, const std::shared_ptr<TowerPruner>& pruner,
             std::shared_ptr<PictureFeatures> features, EncodedPicture encoded);

  std::size_t capacity_, bytes_;
  PreparedPictures* shared_ = nullptr;
  std::list<Entry> entries_;  // most recent first
};

/// Several pictures in one pass through the whole tower, on their way on a GPU.
struct PicturesUnderWay {
  std::vector<EncodedPicture> pictures;  // their times are not known yet
  Milestone begun, seen, projected;

  /// Waits until they are there, and gives each its share of the time. Errors: device.
  Status settle();
};
/// pixels: [3, side, side] each, where the context computes or in the host's memory. Nobody waits
/// for it. Errors: those of VitEncoder::forward_batch().
Result<PicturesUnderWay> encode_pictures(Context& context, const LlavaModel& model,
                                         std::span<const ConstTensorView> pixels);
/// So many pictures at a time: a tower's products gain little beyond.
inline constexpr std::size_t kPicturesAtOnce = 8;

/// A null pruner runs the whole tower.
Result<EncodedPicture> encode_picture(Context& context, const LlavaModel& model,
                                      ConstTensorView pixels, TowerPruner* pruner = nullptr);

}  // namespace fovea
