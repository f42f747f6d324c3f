#include "vision/image_container.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "vision/byte_reader.h"
#include "vision/exif.h"
#include "vision/image.h"

namespace fovea {

namespace {

/// Scans times pixels; progressive JPEGs have about ten scans.
constexpr std::int64_t kMaxScannedPixels = 2'000'000'000;

Error damaged(const std::string& message, std::size_t offset) {
  return make_error(ErrorCode::bad_input, message)
      .at(offset)
      .with_remedy("The file is damaged; get it again");
}

Error truncated(const char* format, std::size_t offset) {
  return damaged(std::string("this ") + format + " picture ends too early", offset);
}

Error other_kind(const std::string& kind) {
  return make_error(ErrorCode::unsupported, kind + " is not read")
      .with_remedy("Convert it to an ordinary JPEG, PNG or BMP");
}

/// Sizes are judged as soon as they are known, so that products of them cannot overflow.
Status check_size(std::int64_t width, std::int64_t height, std::size_t offset) {
  if (width <= 0 || height <= 0) return damaged("a picture without pixels", offset);
  if (width <= kMaxImageSide && height <= kMaxImageSide && width * height <= kMaxImagePixels) {
    return {};
  }
  return make_error(ErrorCode::too_large, "the picture has " + std::to_string(width) + " x " +
                                              std::to_string(height) + " pixels; the limit is " +
                                              std::to_string(kMaxImageSide) + " on a side and " +
                                              std::to_string(kMaxImagePixels) + " in all")
      .at(offset)
      .with_remedy("Scale it down first");
}

bool begins_with(std::span<const std::byte> bytes, std::string_view prefix, std::size_t at = 0) {
  return bytes.size() >= at + prefix.size() &&
         std::memcmp(bytes.data() + at, prefix.data(), prefix.size()) == 0;
}

// ---- What else it could be -------------------------------------------------------------------

Error name_other_file(std::span<const std::byte> bytes) {
  using namespace std::string_view_literals;
  struct Magic {
    std::string_view prefix;
    const char* kind;
    std::size_t at = 0;
  };
  static constexpr std::array<Magic, 14> kKinds{{
      {"GIF8"sv, "a GIF picture"},
      {"WEBP"sv, "a WebP picture", 8},
      {"II*\0"sv, "a TIFF picture"},
      {"MM\0*"sv, "a TIFF picture"},
      {"II+\0"sv, "a TIFF picture"},
      {"ftyphei"sv, "a HEIC picture", 4},
      {"ftyphev"sv, "a HEIC picture", 4},
      {"ftypmif1"sv, "a HEIF picture", 4},
      {"ftypavif"sv, "an AVIF picture", 4},
      {"\xFF\x0A"sv, "a JPEG XL picture"},
      {"\0\0\0\x0CJXL "sv, "a JPEG XL picture"},
      {"\0\0\0\x0CjP  "sv, "a JPEG 2000 picture"},
      {"8BPS"sv, "a Photoshop picture"},
      {"%PDF"sv, "a PDF document"},
  }};
  for (const Magic& magic : kKinds) {
    if (begins_with(bytes, magic.prefix, magic.at)) return other_kind(magic.kind);
  }
  const auto head = bytes.first(std::min<std::size_t>(bytes.size(), 64));
  const bool text = std::ranges::all_of(head, [](std::byte byte) {
    const auto value = std::to_integer<unsigned char>(byte);
    return (value >= 0x20 && value != 0x7F) || value == '\t' || value == '\n' || value == '\r';
  });
  const std::string found = bytes.empty() ? "the file is empty"
                            : text        ? "the file begins like text"
                                          : "its first bytes are those of no picture";
  return make_error(ErrorCode::bad_input, "expected a JPEG, PNG or BMP picture; " + found).at(0);
}

// ---- JPEG (ITU-T T.81, annex B) --------------------------------------------------------------

class JpegWalker {
 public:
  explicit JpegWalker(std::span<const std::byte> bytes) : bytes_(bytes), reader_(bytes, true) {}

  Result<ImageContainer> walk() {
    std::size_t position = 2;  // past the start-of-image marker
    for (;;) {
      FOVEA_TRY(const std::size_t after, next_marker(position));
      const unsigned marker = *reader_.u8(after - 1);
      if (marker == 0xD9) break;  // end of image
      const bool without_length = marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD8);
      if (without_length) return damaged("a JPEG marker in the wrong place", after - 1);
      const auto length = reader_.u16(after);
      if (!length || !reader_.holds(after, *length)) return truncated("JPEG", after);
      if (*length < 2) return damaged("a JPEG segment without room for its length", after);
      FOVEA_CHECK(segment(marker, after + 2, *length - 2u));
      position = after + *length;
      if (marker == 0xDA) {
        const std::size_t begin = position;
        position = skip_entropy_coded_data(begin);
        coded_bytes_ += static_cast<std::int64_t>(position - begin);
      }
    }
    if (scans_ == 0) return damaged("a JPEG file without a picture in it", bytes_.size());
    // Every block takes at least one bit. Without this, a few hundred bytes that claim many pixels
    // keep the decoder busy with pixels that are not there.
    if (coded_bytes_ * 8 < blocks_) {
      return damaged("a JPEG of " + std::to_string(blocks_) + " blocks with only " +
                         std::to_string(coded_bytes_) + " bytes of picture data",
                     bytes_.size());
    }
    if (components_ == 4 && !adobe_) return other_kind("a CMYK JPEG without Adobe's marker");
    return info_;
  }

 private:
  /// Position after the next marker's code; bytes between segments are skipped, as decoders do.
  Result<std::size_t> next_marker(std::size_t position) const {
    while (position < bytes_.size() && bytes_[position] != std::byte{0xFF}) ++position;
    while (position < bytes_.size() && bytes_[position] == std::byte{0xFF}) ++position;
    if (position >= bytes_.size()) return truncated("JPEG", bytes_.size());
    return position + 1;
  }

  /// Position of the 0xFF of the first marker that is neither a stuffed zero nor a restart.
  std::size_t skip_entropy_coded_data(std::size_t position) const {
    while (position < bytes_.size()) {
      const void* found = std::memchr(&bytes_[position], 0xFF, bytes_.size() - position);
      if (found == nullptr) return bytes_.size();
      const auto begin =
          static_cast<std::size_t>(static_cast<const std::byte*>(found) - &bytes_[0]);
      position = begin;
      while (position < bytes_.size() && bytes_[position] == std::byte{0xFF}) ++position;
      if (position >= bytes_.size()) return bytes_.size();
      const auto code = std::to_integer<unsigned>(bytes_[position]);
      if (code != 0 && (code < 0xD0 || code > 0xD7)) return begin;
    }
    return position;
  }

  Status segment(unsigned marker, std::size_t offset, std::size_t size) {
    switch (marker) {
      case 0xC0:
      case 0xC1:
      case 0xC2:
        return frame(offset, size);
      case 0xC4:
        return huffman_tables(offset, size);
      case 0xC3:
      case 0xC5:
      case 0xC6:
      case 0xC7:
        return other_kind("a lossless or hierarchical JPEG");
      case 0xC9:
      case 0xCA:
      case 0xCB:
      case 0xCC:
      case 0xCD:
      case 0xCE:
      case 0xCF:
        return other_kind("a JPEG with arithmetic coding");
      case 0xDA:
        if (info_.width == 0) return damaged("a JPEG scan before the frame's header", offset);
        // A file of a few bytes a scan could keep a decoder busy for hours.
        if (++scans_ * info_.width * info_.height > kMaxScannedPixels) {
          return make_error(ErrorCode::too_large,
                            "a JPEG with " + std::to_string(scans_) + " scans over the same pixels")
              .at(offset)
              .with_remedy("Save it again as an ordinary JPEG");
        }
        return {};
      case 0xE1: {
        using namespace std::string_view_literals;
        const auto content = bytes_.subspan(offset, size);
        if (info_.orientation == 1 && begins_with(content, "Exif\0\0"sv)) {
          info_.orientation = exif_orientation(content.subspan(6));
        }
        return {};
      }
      case 0xEE:
        adobe_ = adobe_ || begins_with(bytes_.subspan(offset, size), "Adobe");
        return {};
      default:
        return {};
    }
  }

  Status frame(std::size_t offset, std::size_t size) {
    if (info_.width != 0) return damaged("a second JPEG frame header", offset);
    if (size < 6) return damaged("a JPEG frame header that is too short", offset);
    if (reader_.u8(offset) != 8) return other_kind("a JPEG with samples of more than 8 bits");
    info_.height = *reader_.u16(offset + 1);
    info_.width = *reader_.u16(offset + 3);
    components_ = *reader_.u8(offset + 5);
    FOVEA_CHECK(check_size(info_.width, info_.height, offset));
    if (size < 6 + 3 * static_cast<std::size_t>(components_)) {
      return damaged("a JPEG frame header that is too short", offset);
    }
    int widest = 1, tallest = 1;
    const auto sampling = [&](int component) {
      return *reader_.u8(offset + 7 + 3 * static_cast<std::size_t>(component));
    };
    for (int component = 0; component < components_; ++component) {
      const int across = sampling(component) >> 4, down = sampling(component) & 15;
      if (across < 1 || across > 4 || down < 1 || down > 4) {
        return damaged("a JPEG with an impossible sampling factor", offset);
      }
      widest = std::max(widest, across);
      tallest = std::max(tallest, down);
    }
    for (int component = 0; component < components_; ++component) {
      const std::int64_t columns = info_.width * (sampling(component) >> 4);
      const std::int64_t rows = info_.height * (sampling(component) & 15);
      blocks_ += (columns / widest + 7) / 8 * ((rows / tallest + 7) / 8);
    }
    return {};
  }

  Status huffman_tables(std::size_t offset, std::size_t size) const {
    while (size > 0) {
      if (size < 17) return damaged("a JPEG Huffman table that is too short", offset);
      std::size_t codes = 0;
      for (std::size_t length = 1; length <= 16; ++length) codes += *reader_.u8(offset + length);
      if (codes > 256 || codes > size - 17) {
        return damaged("a JPEG Huffman table of " + std::to_string(codes) + " codes", offset);
      }
      offset += 17 + codes;
      size -= 17 + codes;
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  ByteReader reader_;
  ImageContainer info_{.format = ImageFormat::jpeg};
  std::int64_t scans_ = 0;
  std::int64_t blocks_ = 0;       // of all components, at least
  std::int64_t coded_bytes_ = 0;  // of all scans
  int components_ = 0;
  bool adobe_ = false;
};

// ---- PNG (ISO/IEC 15948) ---------------------------------------------------------------------

std::uint32_t crc32(std::span<const std::byte> bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t value = 0; value < 256; ++value) {
      std::uint32_t remainder = value;
      for (int bit = 0; bit < 8; ++bit) {
        remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? 0xEDB88320u : 0u);
      }
      entries[value] = remainder;
    }
    return entries;
  }();
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const std::byte byte : bytes) {
    crc = table[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xFF] ^ (crc >> 8);
  }
  return ~crc;
}

Result<ImageContainer> walk_png(std::span<const std::byte> bytes) {
  ImageContainer info{.format = ImageFormat::png};
  const ByteReader reader(bytes, true);
  std::size_t position = 8;
  for (;;) {
    const auto length = reader.u32(position);
    if (!length || !reader.holds(position, std::size_t{*length} + 12)) {
      return truncated("PNG", std::min(position, bytes.size()));
    }
    const auto chunk = bytes.subspan(position + 4, std::size_t{*length} + 4);  // type and content
    const auto content = chunk.subspan(4);
    const bool critical = (std::to_integer<unsigned>(chunk[0]) & 0x20) == 0;
    if (critical && crc32(chunk) != reader.u32(position + 8 + *length)) {
      return damaged("a PNG chunk's checksum does not match", position);
    }
    if (begins_with(chunk, "CgBI")) return other_kind("Apple's own variety of PNG");
    if ((info.width == 0) != begins_with(chunk, "IHDR")) {
      return damaged("PNG chunks in the wrong order", position);
    }
    if (info.width == 0) {
      if (content.size() != 13) return damaged("a PNG header of the wrong size", position);
      info.width = *reader.u32(position + 8);
      info.height = *reader.u32(position + 12);
      FOVEA_CHECK(check_size(info.width, info.height, position + 8));
    }
    if (begins_with(chunk, "eXIf")) info.orientation = exif_orientation(content);
    if (begins_with(chunk, "IEND")) return info;
    position += std::size_t{*length} + 12;
  }
}

// ---- BMP -------------------------------------------------------------------------------------

Result<ImageContainer> walk_bmp(std::span<const std::byte> bytes) {
  const ByteReader reader(bytes, false);
  const auto pixels = reader.u32(10);
  const auto header = reader.u32(14);
  if (!header || !reader.holds(14, *header)) return truncated("BMP", bytes.size());
  const bool old_header = *header == 12;
  if (!old_header && *header < 40) return damaged("a BMP header of an unknown kind", 14);

  ImageContainer info{.format = ImageFormat::bmp};
  info.width = old_header ? *reader.u16(18) : static_cast<std::int32_t>(*reader.u32(18));
  info.height = old_header ? *reader.u16(20) : static_cast<std::int32_t>(*reader.u32(22));
  info.height = std::abs(info.height);  // negative: rows from top to bottom
  FOVEA_CHECK(check_size(info.width, info.height, 18));
  const std::int64_t bits = *reader.u16(old_header ? 24 : 28);
  const std::uint32_t compression = old_header ? 0 : *reader.u32(30);
  if (compression != 0 && compression != 3) return other_kind("a compressed BMP");
  if (bits != 1 && bits != 4 && bits != 8 && bits != 16 && bits != 24 && bits != 32) {
    return other_kind("a BMP with " + std::to_string(bits) + " bits a pixel");
  }

  const std::int64_t palette_bytes = std::int64_t{*pixels} - 14 - *header;
  if (palette_bytes < 0) return damaged("BMP pixels that begin inside the header", 10);
  if (bits < 16) {
    if (old_header) return other_kind("an OS/2 BMP with a palette");
    if (palette_bytes < 4 || palette_bytes / 4 > 256) {
      return damaged("a BMP palette of " + std::to_string(palette_bytes / 4) + " colours", 10);
    }
  }
  // The padding behind the last row may be missing: some writers leave it out.
  const std::int64_t row_bytes = (info.width * bits + 31) / 32 * 4;
  const std::int64_t end = *pixels + row_bytes * (info.height - 1) + (info.width * bits + 7) / 8;
  if (end > static_cast<std::int64_t>(bytes.size())) return truncated("BMP", bytes.size());
  return info;
}

}  // namespace

Result<ImageContainer> inspect_image(std::span<const std::byte> bytes) {
  using namespace std::string_view_literals;
  if (begins_with(bytes, "\xFF\xD8"sv)) return JpegWalker(bytes).walk();
  if (begins_with(bytes, "\x89PNG\r\n\x1A\n"sv)) return walk_png(bytes);
  if (begins_with(bytes, "BM"sv)) return walk_bmp(bytes);
  return name_other_file(bytes);
}

}  // namespace fovea
