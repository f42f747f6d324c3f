#pragma once
// The outer structure of picture files, walked before the decoder sees a byte of them.
//
// stb_image 2.27 (Debian 12) accepts pictures that end in the middle, ignores checksums, and writes
// past its tables when a JPEG's Huffman table claims more than 256 codes. What it does not check is
// checked here, so that a picture is whole before it is decoded.

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/base/error.h"

namespace fovea {

enum class ImageFormat { jpeg, png, bmp };

struct ImageContainer {
  ImageFormat format = ImageFormat::jpeg;
  std::int64_t width = 0, height = 0;  // as stored, before the orientation is applied; both > 0
  int orientation = 1;                 // EXIF's 1 .. 8
};

/// Errors: bad_input (not a picture, damaged, truncated; with the offset), unsupported (a picture
/// of a kind that is named), too_large (over the caps of image.h, or a JPEG of absurdly many
/// scans).
Result<ImageContainer> inspect_image(std::span<const std::byte> bytes);

}  // namespace fovea
