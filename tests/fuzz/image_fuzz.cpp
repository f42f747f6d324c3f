// Whatever bytes a picture file holds: an error, or a whole picture that can be prepared.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "vision/image.h"
#include "vision/preprocess.h"

namespace {

std::uint32_t big_endian(const char* bytes) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::uint32_t crc32(std::string_view text) {
  std::uint32_t crc = ~0u;
  for (const char letter : text) {
    crc ^= static_cast<unsigned char>(letter);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

/// Checksums stop nearly every change of a PNG at the gate: here they are made right again.
std::string with_right_checksums(std::string png) {
  std::size_t position = 8;
  while (position + 12 <= png.size()) {
    const std::size_t length = big_endian(&png[position]);
    if (length > png.size() - position - 12) break;
    const std::uint32_t crc = crc32(std::string_view(png).substr(position + 4, length + 4));
    for (std::size_t i = 0; i < 4; ++i) {
      png[position + 8 + length + i] = static_cast<char>(crc >> (24 - 8 * i));
    }
    position += length + 12;
  }
  return png;
}

void decode(const std::string& bytes) {
  const auto image = fovea::decode_image(std::as_bytes(std::span(bytes)), "picture");
  if (!image) {
    if (image.error().message.empty() || image.error().file != "picture") std::abort();
    return;
  }
  const std::int64_t pixels = std::int64_t{image->width} * image->height;
  if (image->width < 1 || image->height < 1 || pixels > fovea::kMaxImagePixels ||
      static_cast<std::int64_t>(image->rgb.size()) != pixels * 3) {
    std::abort();
  }
  fovea::Context context;
  fovea::PreprocessConfig config;
  config.shortest_edge = config.crop_width = config.crop_height = 24;
  for (const auto aspect : {fovea::AspectMode::crop, fovea::AspectMode::pad}) {
    config.aspect = aspect;
    const auto prepared = fovea::preprocess(context, *image, config);
    if (prepared && prepared->pixels.shape() != fovea::Shape({3, 24, 24})) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  decode(bytes);
  if (bytes.starts_with("\x89PNG\r\n\x1A\n")) decode(with_right_checksums(bytes));
  return 0;
}
