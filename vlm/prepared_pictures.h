#pragma once
// Pictures prepared once for several models that want them alike.

#include <list>
#include <memory>

#include "vision/preprocess.h"

namespace fovea {

/// Holds what was prepared for one question. Pictures are known by their address and must outlive
/// this.
class PreparedPictures {
 public:
  /// Errors: those of preprocess().
  Result<std::shared_ptr<const PreparedImage>> get(Context& context, const Image& image,
                                                   const PreprocessConfig& config);

 private:
  struct Entry {
    const Image* image;
    PreprocessConfig config;
    std::shared_ptr<const PreparedImage> prepared;
  };
  std::list<Entry> entries_;
};

}  // namespace fovea
