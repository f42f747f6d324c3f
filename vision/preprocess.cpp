#include "vision/preprocess.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/picture/picture.h"
#include "vision/resample.h"

namespace fovea {

namespace {

constexpr int kMaxConfiguredSide = 4096;

std::string sides_text(std::int64_t width, std::int64_t height) {
  return std::to_string(width) + " x " + std::to_string(height);
}

Status check_picture(const Image& image) {
  if (image.width >= 1 && image.height >= 1 && image.width <= kMaxImageSide &&
      image.height <= kMaxImageSide &&
      image.rgb.size() == static_cast<std::size_t>(image.width) * image.height * 3) {
    return {};
  }
  return make_error(ErrorCode::bad_input, "a picture of " + sides_text(image.width, image.height) +
                                              " pixels cannot be prepared");
}

Status check_config(const PreprocessConfig& config) {
  const auto good = [](int side) { return side >= 1 && side <= kMaxConfiguredSide; };
  const bool resize = !config.resize || (config.shortest_edge ? good(*config.shortest_edge)
                                                              : good(config.resize_width) &&
                                                                    good(config.resize_height));
  const bool crop = !config.center_crop || (good(config.crop_width) && good(config.crop_height));
  if (config.channels != 1 && config.channels != 3) {
    return make_error(ErrorCode::usage, "pictures have 1 or 3 channels");
  }
  if (resize && crop) return {};
  return make_error(ErrorCode::usage,
                    "preprocessing sizes must lie from 1 to " + std::to_string(kMaxConfiguredSide));
}

/// Errors: too_large, when a picture on the way would have more pixels than one may have.
Status check_intermediate(std::int64_t width, std::int64_t height, const Image& image) {
  if (width <= kMaxImagePixels && height <= kMaxImagePixels && width * height <= kMaxImagePixels) {
    return {};
  }
  return make_error(ErrorCode::too_large,
                    "preparing a picture of " + sides_text(image.width, image.height) +
                        " pixels takes one of " + sides_text(width, height) + "; the limit is " +
                        std::to_string(kMaxImagePixels) + " pixels")
      .with_remedy("Crop it to a less extreme shape first");
}

/// The picture in the middle of a square of the mean colour, as the original LLaVA pads it.
Sheet square_sheet(const Image& image, const PreprocessConfig& config) {
  const int side = std::max(image.width, image.height);
  Sheet sheet{image, (side - image.width) / 2, (side - image.height) / 2, side, side, {}};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const double value = std::trunc(config.mean[channel] * 255);
    sheet.color[channel] = static_cast<std::uint8_t>(std::clamp(value, 0.0, 255.0));
  }
  return sheet;
}

/// Rescaling and normalising are the same for every pixel of a channel: 256 results, computed with
/// transformers' roundings (product in double, difference and quotient in float).
LevelTable value_table(const PreprocessConfig& config) {
  LevelTable table{};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t level = 0; level < 256; ++level) {
      const double exact = static_cast<double>(level);
      float value = static_cast<float>(config.rescale ? exact * config.rescale_factor : exact);
      if (config.normalize) {
        value = (value - static_cast<float>(config.mean[channel])) /
                static_cast<float>(config.std[channel]);
      }
      table[channel][level] = value;
    }
  }
  return table;
}

/// Luminance in all three channels: ITU-R 601-2 weights in units of 2^-16, rounded, as Pillow
/// computes mode "L". A picture that is grey already stays as it is.
Image grey_of(const Image& image) {
  Image grey = image;
  for (std::size_t i = 0; i + 2 < grey.rgb.size(); i += 3) {
    std::uint8_t* pixel = &grey.rgb[i];
    const auto luminance = static_cast<std::uint8_t>(
        (19595U * pixel[0] + 38470U * pixel[1] + 7471U * pixel[2] + 0x8000U) >> 16);
    pixel[0] = pixel[1] = pixel[2] = luminance;
  }
  return grey;
}

Result<PreparedImage> prepare(Context& context, const Image& image,
                              const PreprocessConfig& config) {
  // 1. Pad to a square, or not.
  const bool pad = config.aspect == AspectMode::pad;
  const Sheet sheet =
      pad ? square_sheet(image, config) : Sheet{image, 0, 0, image.width, image.height, {}};
  FOVEA_CHECK(check_intermediate(sheet.width, sheet.height, image));

  // 2. Size after resizing; the long side is cut to whole pixels, not rounded.
  std::int64_t width = sheet.width, height = sheet.height;
  if (config.resize && config.shortest_edge) {
    const std::int64_t edge = *config.shortest_edge;
    const std::int64_t narrow = std::min(width, height), wide = std::max(width, height);
    const std::int64_t length = edge * wide / narrow;
    const bool upright = width <= height;
    width = upright ? edge : length;
    height = upright ? length : edge;
  } else if (config.resize) {
    width = config.resize_width;
    height = config.resize_height;
  }
  FOVEA_CHECK(check_intermediate(width, height, image));

  // 3. The field that is cut out of it; halves are rounded down, also when it is larger.
  PreparedImage prepared;
  prepared.width = config.center_crop ? config.crop_width : static_cast<int>(width);
  prepared.height = config.center_crop ? config.crop_height : static_cast<int>(height);
  prepared.source_width = image.width;
  prepared.source_height = image.height;
  const auto middle = [](std::int64_t outer, std::int64_t inner) {
    return static_cast<int>((outer - inner) >= 0 ? (outer - inner) / 2
                                                 : -((inner - outer + 1) / 2));
  };
  const int left = middle(width, prepared.width), top = middle(height, prepared.height);
  PixelWindow window;
  window.left = std::max(left, 0);
  window.top = std::max(top, 0);
  window.width =
      static_cast<int>(std::min<std::int64_t>(width, left + prepared.width)) - window.left;
  window.height =
      static_cast<int>(std::min<std::int64_t>(height, top + prepared.height)) - window.top;

  FOVEA_TRY(prepared.pixels, Tensor::allocate({config.channels, prepared.height, prepared.width},
                                              DType::f32, context.device));
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView part,
            context.workspace.take({window.height, std::int64_t{3} * window.width}, DType::u8));
  FOVEA_CHECK(resample_window(context, sheet, static_cast<int>(width), static_cast<int>(height),
                              config.resample, window, part));
  FOVEA_CHECK(spread_channels(context, part, window.left - left, window.top - top,
                              value_table(config), prepared.pixels.view()));

  const double scale_x = static_cast<double>(sheet.width) / static_cast<double>(width);
  const double scale_y = static_cast<double>(sheet.height) / static_cast<double>(height);
  prepared.rect.x = left * scale_x - sheet.left;
  prepared.rect.y = top * scale_y - sheet.top;
  prepared.rect.width = prepared.width * scale_x;
  prepared.rect.height = prepared.height * scale_y;
  return prepared;
}

Error no_memory() {
  return make_error(ErrorCode::out_of_memory, "no memory to prepare the picture");
}

}  // namespace

Result<PreparedImage> preprocess(Context& context, const Image& image,
                                 const PreprocessConfig& config) {
  FOVEA_CHECK(check_picture(image));
  FOVEA_CHECK(check_config(config));
  const auto attempt = [&]() -> Result<PreparedImage> {
    try {
      return prepare(context, config.channels == 1 ? grey_of(image) : image, config);
    } catch (const std::bad_alloc&) {
      return no_memory();
    }
  };
  Result<PreparedImage> prepared = attempt();
  if (!prepared && !image.name.empty()) prepared.error().in_file(image.name);
  return prepared;
}

Result<Image> resize_like_pillow(Context& context, const Image& image, int width, int height,
                                 Resample resample) {
  FOVEA_CHECK(check_picture(image));
  if (width < 1 || height < 1 || width > kMaxImageSide || height > kMaxImageSide) {
    return make_error(ErrorCode::usage, "cannot resize a picture to " + sides_text(width, height) +
                                            " pixels; each side must be from 1 to " +
                                            std::to_string(kMaxImageSide));
  }
  FOVEA_CHECK(check_intermediate(width, height, image));
  try {
    Image result = Image::filled(width, height, 0, 0, 0);
    const Shape shape{height, std::int64_t{3} * width};
    const TensorView here(reinterpret_cast<std::byte*>(result.rgb.data()), DType::u8, shape);
    const Workspace::Scope scope(context.workspace);
    TensorView out = here;
    if (context.on_cuda()) {
      FOVEA_TRY(out, context.workspace.take(shape, DType::u8));
    }
    FOVEA_CHECK(resample_window(context, {image, 0, 0, image.width, image.height, {}}, width,
                                height, resample, {0, 0, width, height}, out));
    if (context.on_cuda()) FOVEA_CHECK(copy(context, out, here));
    return result;
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
}

}  // namespace fovea
