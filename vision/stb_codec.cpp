#include "vision/stb_codec.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

namespace fovea {
namespace {

// stb_image allocates what a file claims, and PNG's inflate doubles its buffer without an end.
// Every block it asks for goes through here: none larger than the picture at hand can need, and all
// of them zeroed, because damaged files make it read what it never wrote.
thread_local std::size_t largest_block = 0;
thread_local bool memory_exhausted = false;

void* allocate_block(std::size_t size) {
  if (size > largest_block) return nullptr;
  void* block = std::calloc(1, size);
  memory_exhausted = memory_exhausted || block == nullptr;
  return block;
}

void* grow_block(void* block, std::size_t old_size, std::size_t new_size) {
  if (new_size > largest_block) return nullptr;
  void* grown = std::realloc(block, new_size);
  memory_exhausted = memory_exhausted || grown == nullptr;
  if (grown != nullptr && new_size > old_size) {
    std::memset(static_cast<char*>(grown) + old_size, 0, new_size - old_size);
  }
  return grown;
}

Error decoding_error(const char* reason) {
  if (memory_exhausted) {
    return make_error(ErrorCode::out_of_memory, "no memory to decode the picture");
  }
  // The only other way to run out of memory is to ask for more than the picture can need.
  const std::string text = reason == nullptr ? "" : reason;
  return make_error(ErrorCode::bad_input,
                    "the picture's data are damaged (" +
                        (text == "outofmem" ? "more data than pixels" : text) + ")");
}

}  // namespace
}  // namespace fovea

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS 16384
#define STBI_ASSERT(condition) static_cast<void>(0)  // a library must not end the program
#define STBI_MALLOC(size) fovea::allocate_block(size)
#define STBI_REALLOC_SIZED(block, old_size, new_size) fovea::grow_block(block, old_size, new_size)
#define STBI_REALLOC(block, new_size) nullptr  // never used where the sized form is given
#define STBI_FREE(block) std::free(block)
#include <stb/stb_image.h>

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

namespace fovea {

static_assert(kMaxImageSide == STBI_MAX_DIMENSIONS);
static_assert(kMaxImageFileBytes <= INT_MAX, "stb_image counts bytes in int");

Result<Image> decode_with_stb(std::span<const std::byte> bytes, int width, int height) {
  // Largest of: 16-bit RGBA rows, which inflate may ask for twice over; JPEG coefficients with
  // sides rounded up to units of 32 pixels; the compressed data, gathered in a doubling buffer.
  const auto padded =
      (static_cast<std::size_t>(width) + 32) * (static_cast<std::size_t>(height) + 32);
  memory_exhausted = false;
  largest_block = 16 * padded + 2 * bytes.size() + (std::size_t{1} << 20);

  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int size = static_cast<int>(bytes.size());
  int found_width = 0, found_height = 0, channels = 0;
  if (stbi_info_from_memory(data, size, &found_width, &found_height, &channels) == 0) {
    return decoding_error(stbi_failure_reason());
  }
  if (found_width != width ||
      std::abs(found_height) != height) {  // negative: a BMP from top to bottom
    return make_error(ErrorCode::bad_input, "the picture states two different sizes");
  }
  stbi_uc* pixels = stbi_load_from_memory(data, size, &found_width, &found_height, &channels, 3);
  if (pixels == nullptr) {
    return decoding_error(stbi_failure_reason());
  }
  Result<Image> result = [&]() -> Result<Image> {
    try {
      Image image{width, height, {}};
      image.rgb.assign(pixels, pixels + static_cast<std::size_t>(width) * height * 3);
      return image;
    } catch (const std::bad_alloc&) {
      return make_error(ErrorCode::out_of_memory, "no memory for the decoded picture");
    }
  }();
  std::free(pixels);
  return result;
}

Result<std::vector<std::byte>> encode_png_with_stb(const Image& image) {
  int size = 0;
  unsigned char* png =
      stbi_write_png_to_mem(image.rgb.data(), image.width * 3, image.width, image.height, 3, &size);
  if (png == nullptr) return make_error(ErrorCode::out_of_memory, "no memory to write a PNG");
  const auto* begin = reinterpret_cast<const std::byte*>(png);
  std::vector<std::byte> bytes(begin, begin + size);
  std::free(png);
  return bytes;
}

}  // namespace fovea
