#include "vision/image.h"

#include <new>
#include <utility>

#include "kernels/base/file.h"
#include "vision/image_container.h"
#include "vision/stb_codec.h"

namespace fovea {

namespace {

/// The picture as it should be seen: EXIF stores where its first row and column belong.
Image upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const std::ptrdiff_t width = image.width, height = image.height;
  // Source position of the result's pixel (0, 0), and of its neighbours to the right and below.
  const bool swap = orientation >= 5;
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const std::ptrdiff_t along_x = from_right ? -1 : 1;
  const std::ptrdiff_t along_y = from_bottom ? -width : width;
  const std::ptrdiff_t right = swap ? along_y : along_x;
  const std::ptrdiff_t down = swap ? along_x : along_y;
  const std::ptrdiff_t first =
      (from_right ? width - 1 : 0) + (from_bottom ? (height - 1) * width : 0);

  Image turned{image.width, image.height, {}};
  if (swap) std::swap(turned.width, turned.height);
  turned.rgb.resize(image.rgb.size());
  std::uint8_t* to = turned.rgb.data();
  for (std::ptrdiff_t y = 0; y < turned.height; ++y) {
    for (std::ptrdiff_t x = 0; x < turned.width; ++x, to += 3) {
      const std::uint8_t* from =
          &image.rgb[static_cast<std::size_t>(first + x * right + y * down) * 3];
      to[0] = from[0];
      to[1] = from[1];
      to[2] = from[2];
    }
  }
  return turned;
}

Error too_many_bytes(std::size_t bytes) {
  return make_error(ErrorCode::too_large, "the picture file has " + std::to_string(bytes) +
                                              " bytes; the limit is " +
                                              std::to_string(kMaxImageFileBytes));
}

Status check_image(const Image& image) {
  const bool sides = image.width >= 1 && image.height >= 1 && image.width <= kMaxImageSide &&
                     image.height <= kMaxImageSide;
  const std::int64_t pixels = sides ? std::int64_t{image.width} * image.height : 0;
  if (!sides || pixels > kMaxImagePixels ||
      image.rgb.size() != static_cast<std::size_t>(pixels) * 3) {
    return make_error(ErrorCode::usage, "an Image of " + std::to_string(image.width) + " x " +
                                            std::to_string(image.height) + " pixels with " +
                                            std::to_string(image.rgb.size()) + " bytes");
  }
  return {};
}

}  // namespace

Image Image::filled(int width, int height, std::uint8_t r, std::uint8_t g, std::uint8_t b) {
  Image image{width, height, {}, {}};
  image.rgb.resize(static_cast<std::size_t>(width) * height * 3);
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) {
    image.rgb[i] = r;
    image.rgb[i + 1] = g;
    image.rgb[i + 2] = b;
  }
  return image;
}

Result<Image> decode_image(std::span<const std::byte> bytes, const std::string& name) {
  const auto decode = [&]() -> Result<Image> {
    if (bytes.size() > kMaxImageFileBytes) return too_many_bytes(bytes.size());
    FOVEA_TRY(const ImageContainer container, inspect_image(bytes));
    FOVEA_TRY(Image image, decode_with_stb(bytes, static_cast<int>(container.width),
                                           static_cast<int>(container.height)));
    try {
      return upright(std::move(image), container.orientation);
    } catch (const std::bad_alloc&) {
      return make_error(ErrorCode::out_of_memory, "no memory to turn the picture upright");
    }
  };
  Result<Image> image = decode();
  if (image) {
    image->name = name;
  } else {
    image.error().in_file(name);
  }
  return image;
}

Result<Image> load_image(const std::string& path) {
  FOVEA_TRY(const std::string bytes, read_file(path, kMaxImageFileBytes));
  return decode_image(std::as_bytes(std::span(bytes)), path);
}

Result<std::vector<std::byte>> encode_png(const Image& image) {
  FOVEA_CHECK(check_image(image));
  return encode_png_with_stb(image);
}

Status write_png(const std::string& path, const Image& image) {
  FOVEA_TRY(const std::vector<std::byte> png, encode_png(image));
  return write_file_atomically(path, png);
}

}  // namespace fovea
