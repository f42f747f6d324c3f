#pragma once
// Pictures in and out. Untrusted bytes: JPEG, PNG and BMP only, decoded by stb_image behind caps.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

/// Largest picture accepted, in pixels, and on one side (stb_image's own default is 2^24 a side).
inline constexpr std::int64_t kMaxImagePixels = 100'000'000;
inline constexpr int kMaxImageSide = 16384;
inline constexpr std::size_t kMaxImageFileBytes = std::size_t{256} << 20;

/// 8-bit RGB, row by row, three bytes a pixel; the EXIF orientation is already applied.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> rgb;  // [height, width, 3]
  std::string name;               // of the file, for errors; empty when made in memory

  static Image filled(int width, int height, std::uint8_t r, std::uint8_t g, std::uint8_t b);
  std::uint8_t* pixel(int x, int y) { return &rgb[(static_cast<std::size_t>(y) * width + x) * 3]; }
  const std::uint8_t* pixel(int x, int y) const {
    return &rgb[(static_cast<std::size_t>(y) * width + x) * 3];
  }
};

/// A rectangle in pixels of the original picture; it may reach outside the picture (padding).
struct PixelRect {
  double x = 0, y = 0, width = 0, height = 0;
};

/// Grey becomes RGB, 16 bits become 8, alpha is dropped without blending (as Pillow's
/// convert("RGB") does). Errors: bad_input (not a picture, truncated), unsupported (GIF, WebP, ...
/// named by their first bytes), too_large (with the limit).
Result<Image> decode_image(std::span<const std::byte> bytes, const std::string& name);
Result<Image> load_image(const std::string& path);

Result<std::vector<std::byte>> encode_png(const Image& image);
Status write_png(const std::string& path, const Image& image);

}  // namespace fovea
