#pragma once
// The one door to stb_image and stb_image_write: bytes in and out, nothing read from disk.

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/base/error.h"
#include "vision/image.h"

namespace fovea {

/// Decodes a picture that inspect_image() has passed and that has these sides; any channels and
/// depth become 8-bit RGB. Errors: bad_input with stb_image's reason, out_of_memory.
Result<Image> decode_with_stb(std::span<const std::byte> bytes, int width, int height);

/// Precondition: image.rgb holds width * height * 3 bytes, within the caps of image.h.
Result<std::vector<std::byte>> encode_png_with_stb(const Image& image);

}  // namespace fovea
