#include "vlm/prepared_pictures.h"

#include <utility>

namespace fovea {

Result<std::shared_ptr<const PreparedImage>> PreparedPictures::get(Context& context,
                                                                   const Image& image,
                                                                   const PreprocessConfig& config) {
  for (const Entry& entry : entries_) {
    const bool here = entry.prepared->pixels.device() == context.device;
    if (here && entry.image == &image && entry.config == config) return entry.prepared;
  }
  FOVEA_TRY(PreparedImage prepared, preprocess(context, image, config));
  entries_.push_back({&image, config, std::make_shared<const PreparedImage>(std::move(prepared))});
  return entries_.back().prepared;
}

}  // namespace fovea
