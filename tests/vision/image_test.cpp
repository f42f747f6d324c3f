#include "vision/image.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/base/file.h"
#include "kernels/base/json.h"
#include "support/temporary_folder.h"
#include "vision/exif.h"
#include "vision/image_container.h"
#include "vision/pattern.h"

namespace fovea {
namespace {

using testing::pattern;
using testing::TemporaryFolder;

const std::string kPictures = std::string(FOVEA_SOURCE_DIR) + "/tests/golden/preprocess/pictures/";

std::string golden_bytes(const std::string& name) {
  auto bytes = read_file(kPictures + name, 1 << 20);
  EXPECT_TRUE(bytes) << bytes.error().to_string();
  return std::move(*bytes);
}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kPictures)) {
    const std::string name = entry.path().filename().string();
    if (name.find(".expected.") == std::string::npos) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<Image> decode(const std::string& bytes) {
  return decode_image(std::as_bytes(std::span(bytes)), "picture");
}

Error decode_error(const std::string& bytes) {
  auto image = decode(bytes);
  EXPECT_FALSE(image);
  return image ? Error{} : image.error();
}

std::string big_endian(std::uint32_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    text += static_cast<char>(value >> shift);
  return text;
}

std::string little_endian(std::uint32_t value, int bytes) {
  const std::string text = big_endian(value, bytes);
  return {text.rbegin(), text.rend()};
}

std::uint32_t crc32(const std::string& text) {
  std::uint32_t crc = ~0u;
  for (const char letter : text) {
    crc ^= static_cast<unsigned char>(letter);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

std::string png_chunk(const std::string& type, const std::string& content) {
  return big_endian(static_cast<std::uint32_t>(content.size()), 4) + type + content +
         big_endian(crc32(type + content), 4);
}

const std::string kPngSignature = "\x89PNG\r\n\x1A\n";

std::string png_header(std::uint32_t width, std::uint32_t height) {
  return png_chunk("IHDR",
                   big_endian(width, 4) + big_endian(height, 4) + std::string("\x08\x02\0\0\0", 5));
}

std::string jpeg_segment(unsigned char marker, const std::string& content) {
  return std::string("\xFF") + static_cast<char>(marker) +
         big_endian(static_cast<std::uint32_t>(content.size() + 2), 2) + content;
}

std::string jpeg_frame(unsigned char marker, int width, int height) {
  return jpeg_segment(marker, std::string("\x08") +
                                  big_endian(static_cast<std::uint32_t>(height), 2) +
                                  big_endian(static_cast<std::uint32_t>(width), 2) +
                                  std::string("\x01\x01\x11\x00", 4));
}

const std::string kJpegScan = jpeg_segment(0xDA, std::string("\x01\x01\x00\x00\x3F\x00", 6));

// ---- What is read
// --------------------------------------------------------------------------------

TEST(DecodeImage, equals_pillow_for_every_kind_of_file) {
  const auto json = parse_json(*read_file(kPictures + "../cases.json", 1 << 20));
  ASSERT_TRUE(json);
  for (const Json& item : json->find("pictures")->as_array()) {
    const std::string name = item.as_array()[0].as_string();
    const auto allowed = item.as_array()[1].as_int();  // JPEG decoders round differently
    SCOPED_TRACE(name);
    const auto image = load_image(kPictures + name);
    ASSERT_TRUE(image) << image.error().to_string();
    const auto expected = load_image(kPictures + name + ".expected.png");
    ASSERT_TRUE(expected) << expected.error().to_string();
    ASSERT_EQ(image->width, expected->width);
    ASSERT_EQ(image->height, expected->height);
    ASSERT_EQ(image->rgb.size(), static_cast<std::size_t>(image->width) * image->height * 3);
    int worst = 0;
    for (std::size_t i = 0; i < image->rgb.size(); ++i) {
      worst = std::max(worst, std::abs(image->rgb[i] - expected->rgb[i]));
    }
    EXPECT_LE(worst, allowed);
  }
}

TEST(DecodeImage, bmp_rows_from_top_to_bottom_are_read) {
  std::string bmp = std::string("BM") + little_endian(70, 4) + little_endian(0, 4) +
                    little_endian(54, 4) + little_endian(40, 4) + little_endian(2, 4) +
                    little_endian(static_cast<std::uint32_t>(-2), 4) + little_endian(1, 2) +
                    little_endian(24, 2) + std::string(24, '\0');
  bmp += std::string("\x01\x02\x03\x04\x05\x06\0\0", 8) +
         std::string("\x07\x08\x09\x0A\x0B\x0C\0\0", 8);
  const auto image = decode(bmp);
  ASSERT_TRUE(image) << image.error().to_string();
  EXPECT_EQ(image->rgb, (std::vector<std::uint8_t>{3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10}));
}

TEST(DecodeImage, bytes_after_the_picture_are_ignored) {
  for (const char* name : {"colour.jpg", "rgb.png", "rgb.bmp"}) {
    EXPECT_TRUE(decode(golden_bytes(name) + std::string(100, 'x'))) << name;
  }
}

// ---- What is refused
// -----------------------------------------------------------------------------

TEST(DecodeImage, every_truncation_is_an_error) {
  for (const std::string& name : golden_names()) {
    const std::string whole = golden_bytes(name);
    ASSERT_TRUE(decode(whole)) << name;
    for (std::size_t size = 0; size < whole.size(); size += size < 700 ? 1 : 37) {
      // The padding after a BMP's last row may be missing, nothing else.
      if (name.ends_with(".bmp") && size + 3 >= whole.size()) break;
      const auto image = decode(whole.substr(0, size));
      ASSERT_FALSE(image) << name << " cut to " << size << " bytes";
      EXPECT_EQ(image.error().code, ErrorCode::bad_input);
      EXPECT_EQ(image.error().file, "picture");
    }
  }
}

TEST(DecodeImage, other_files_are_named) {
  using namespace std::string_literals;
  const std::vector<std::pair<std::string, std::string>> kinds = {
      {"GIF89a\1\0\1\0"s, "GIF"},
      {"RIFF\x24\0\0\0WEBPVP8 "s, "WebP"},
      {"II*\0\x08\0\0\0"s, "TIFF"},
      {"MM\0*\0\0\0\x08"s, "TIFF"},
      {"\0\0\0\x18"
       "ftypheic"s,
       "HEIC"},
      {"\0\0\0\x18"
       "ftypavif"s,
       "AVIF"},
      {"8BPS\0\1"s, "Photoshop"},
      {"%PDF-1.7"s, "PDF"},
  };
  for (const auto& [bytes, kind] : kinds) {
    const Error error = decode_error(bytes);
    EXPECT_EQ(error.code, ErrorCode::unsupported) << kind;
    EXPECT_NE(error.message.find(kind), std::string::npos) << error.to_string();
    EXPECT_FALSE(error.remedy.empty());
  }
}

TEST(DecodeImage, text_and_nothing_are_no_pictures) {
  EXPECT_NE(decode_error("This is a text file.\nIt was named .jpg.").message.find("text"),
            std::string::npos);
  EXPECT_NE(decode_error("").message.find("empty"), std::string::npos);
  EXPECT_EQ(decode_error(std::string(1000, '\0')).code, ErrorCode::bad_input);
  EXPECT_EQ(decode_error("\xFF\xD8").code, ErrorCode::bad_input);
  EXPECT_EQ(decode_error("BM").code, ErrorCode::bad_input);
}

TEST(DecodeImage, sides_and_pixels_over_the_caps_are_too_large) {
  const std::string end = png_chunk("IEND", "");
  for (const auto& [width, height] :
       {std::pair{20000u, 1u}, {1u, 20000u}, {16384u, 16384u}, {~0u, ~0u}}) {
    const Error error = decode_error(kPngSignature + png_header(width, height) + end);
    EXPECT_EQ(error.code, ErrorCode::too_large);
    EXPECT_NE(error.message.find(std::to_string(width) + " x "), std::string::npos)
        << error.message;
    EXPECT_NE(error.message.find("16384"), std::string::npos) << error.message;
  }
  const std::string jpeg =
      std::string("\xFF\xD8") + jpeg_frame(0xC0, 1, 20000) + kJpegScan + "\xFF\xD9";
  EXPECT_EQ(decode_error(jpeg).code, ErrorCode::too_large);
  const std::string bmp = std::string("BM") + std::string(8, '\0') + little_endian(54, 4) +
                          little_endian(40, 4) + little_endian(0x7FFFFFFF, 4) +
                          little_endian(0x80000000, 4) + little_endian(1, 2) +
                          little_endian(32, 2) + std::string(40, '\0');
  EXPECT_EQ(decode_error(bmp).code, ErrorCode::too_large);
}

TEST(DecodeImage, a_small_file_with_large_claims_costs_little) {
  // 10,000 x 9,999 pixels and no data: an error, not minutes.
  const std::string png =
      kPngSignature + png_header(10000, 9999) + png_chunk("IDAT", "") + png_chunk("IEND", "");
  EXPECT_EQ(decode_error(png).code, ErrorCode::bad_input);
  const std::string jpeg = std::string("\xFF\xD8") + jpeg_frame(0xC0, 10000, 9999) + kJpegScan +
                           std::string(1000, '\x55') + "\xFF\xD9";
  EXPECT_EQ(decode_error(jpeg).code, ErrorCode::bad_input);
  // Deflate that grows 158-fold (each match: length 258, distance 1) stops at what one pixel needs.
  std::string deflate = "\x78\x01";
  std::uint64_t bits = 0;
  int held = 0;
  const auto put = [&](std::uint64_t value, int count) {
    bits |= value << held;
    for (held += count; held >= 8; held -= 8, bits >>= 8) deflate += static_cast<char>(bits);
  };
  put(0b011, 3);       // the last block, with the fixed codes
  put(0b00001100, 8);  // a zero
  for (int match = 0; match < 500'000; ++match) put(0b10100011, 13);
  put(0, 7 + 8);  // end of block, and whole bytes
  const std::string bomb =
      kPngSignature + png_header(1, 1) + png_chunk("IDAT", deflate) + png_chunk("IEND", "");
  EXPECT_EQ(decode_error(bomb).code, ErrorCode::bad_input);
}

TEST(DecodeImage, a_jpeg_of_endless_scans_is_refused) {
  std::string jpeg = std::string("\xFF\xD8") + jpeg_frame(0xC2, 10000, 9000);
  for (int scan = 0; scan < 100; ++scan) jpeg += kJpegScan;
  EXPECT_EQ(decode_error(jpeg + "\xFF\xD9").code, ErrorCode::too_large);
}

TEST(DecodeImage, a_huffman_table_of_too_many_codes_is_refused) {
  // 16 lengths of 255 codes each: stb_image 2.27 alone writes past its tables here.
  const std::string table =
      std::string(1, '\0') + std::string(16, '\xFF') + std::string(16 * 255, '\0');
  const std::string jpeg = std::string("\xFF\xD8") + jpeg_segment(0xC4, table) +
                           jpeg_frame(0xC0, 8, 8) + kJpegScan + "\xFF\xD9";
  const Error error = decode_error(jpeg);
  EXPECT_EQ(error.code, ErrorCode::bad_input);
  EXPECT_NE(error.message.find("4080 codes"), std::string::npos) << error.message;
  EXPECT_TRUE(error.offset.has_value());
}

TEST(DecodeImage, kinds_of_jpeg_that_are_not_read_are_named) {
  EXPECT_EQ(
      decode_error(std::string("\xFF\xD8") + jpeg_frame(0xC9, 8, 8) + kJpegScan + "\xFF\xD9").code,
      ErrorCode::unsupported);
  EXPECT_EQ(
      decode_error(std::string("\xFF\xD8") + jpeg_frame(0xC3, 8, 8) + kJpegScan + "\xFF\xD9").code,
      ErrorCode::unsupported);
  std::string deep = std::string("\xFF\xD8") + jpeg_frame(0xC1, 8, 8) + kJpegScan + "\xFF\xD9";
  deep[6] = 12;  // bits a sample
  EXPECT_EQ(decode_error(deep).code, ErrorCode::unsupported);
}

TEST(DecodeImage, a_changed_byte_in_a_png_is_noticed) {
  const std::string whole = golden_bytes("rgb.png");
  for (std::size_t place = 8; place < whole.size(); place += 61) {
    std::string changed = whole;
    changed[place] = static_cast<char>(changed[place] ^ 0x10);
    EXPECT_FALSE(decode(changed)) << "byte " << place;
  }
}

TEST(DecodeImage, damaged_bytes_never_crash) {
  // Whatever comes out, it is a whole picture or an error.
  std::uint32_t state = 12345;
  const auto random = [&] { return state = state * 1664525u + 1013904223u, state >> 8; };
  for (const std::string& name : golden_names()) {
    const std::string whole = golden_bytes(name);
    for (int round = 0; round < 200; ++round) {
      std::string changed = whole;
      for (std::uint32_t change = 0; change < 1 + round % 8u; ++change) {
        changed[random() % changed.size()] = static_cast<char>(random());
      }
      const auto image = decode(changed);
      if (image) {
        EXPECT_EQ(image->rgb.size(), static_cast<std::size_t>(image->width) * image->height * 3);
      }
    }
  }
}

TEST(LoadImage, missing_files_and_folders_are_errors_with_the_path) {
  const TemporaryFolder folder;
  for (const std::string& path : {folder / "none.png", folder.path().string()}) {
    const auto image = load_image(path);
    ASSERT_FALSE(image);
    EXPECT_EQ(image.error().file, path);
  }
  const auto text = load_image(folder.write("text.jpg", "not a picture"));
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, ErrorCode::bad_input);
  EXPECT_EQ(text.error().file, folder / "text.jpg");
}

// ---- EXIF
// ----------------------------------------------------------------------------------------

std::string tiff(bool big, std::uint32_t orientation, std::uint32_t type = 3,
                 std::uint32_t count = 1) {
  const auto number = [&](std::uint32_t value, int bytes) {
    return big ? big_endian(value, bytes) : little_endian(value, bytes);
  };
  return std::string(big ? "MM" : "II") + number(42, 2) + number(8, 4) + number(2, 2) +
         number(0x010F, 2) + number(2, 2) + number(4, 4) + number(0, 4) +  // maker, before it
         number(0x0112, 2) + number(type, 2) + number(count, 4) + number(orientation, 2) +
         number(0, 2) + number(0, 4);
}

int orientation_of(const std::string& block) {
  return exif_orientation(std::as_bytes(std::span(block)));
}

TEST(Exif, orientation_is_read_in_both_byte_orders) {
  for (std::uint32_t orientation = 1; orientation <= 8; ++orientation) {
    EXPECT_EQ(orientation_of(tiff(false, orientation)), orientation);
    EXPECT_EQ(orientation_of(tiff(true, orientation)), orientation);
  }
}

TEST(Exif, malformed_blocks_mean_upright) {
  const std::string whole = tiff(false, 6);
  for (std::size_t size = 0; size < whole.size() - 8; ++size) {
    EXPECT_EQ(orientation_of(whole.substr(0, size)), 1) << size;
  }
  EXPECT_EQ(orientation_of(tiff(true, 0)), 1);
  EXPECT_EQ(orientation_of(tiff(true, 9)), 1);
  EXPECT_EQ(orientation_of(tiff(true, 6, 2)), 1);
  EXPECT_EQ(orientation_of(tiff(true, 6, 3, 2)), 1);
  std::string far = whole;
  far.replace(4, 4, "\xFF\xFF\xFF\xFF");  // the directory lies outside
  EXPECT_EQ(orientation_of(far), 1);
  std::string many = whole;
  many.replace(8, 2, "\xFF\xFF");  // more entries than there are bytes, ours among them
  EXPECT_EQ(orientation_of(many), 6);
}

TEST(Exif, malformed_exif_does_not_spoil_the_picture) {
  std::string bytes = golden_bytes("orientation_6.jpg");
  const std::size_t place = bytes.find("Exif");
  ASSERT_NE(place, std::string::npos);
  bytes.replace(place + 10, 4, "\xFF\xFF\xFF\xFF");
  const auto image = decode(bytes);
  ASSERT_TRUE(image) << image.error().to_string();
  EXPECT_EQ(image->width, 24);
  EXPECT_EQ(image->height, 17);
}

// ---- Writing
// -------------------------------------------------------------------------------------

TEST(WritePng, read_back_is_identical) {
  const TemporaryFolder folder;
  for (const auto& [width, height] : {std::pair{1, 1}, {1, 40}, {57, 3}, {320, 200}}) {
    const Image image = pattern(width, height, 3);
    const std::string path = folder / "picture.png";
    ASSERT_TRUE(write_png(path, image));
    const auto back = load_image(path);
    ASSERT_TRUE(back) << back.error().to_string();
    EXPECT_EQ(back->width, width);
    EXPECT_EQ(back->height, height);
    EXPECT_EQ(back->rgb, image.rgb);
  }
}

TEST(WritePng, impossible_images_and_places_are_errors) {
  EXPECT_FALSE(encode_png(Image{}));
  EXPECT_FALSE(encode_png(Image{-1, 4, {}}));
  EXPECT_FALSE(encode_png(Image{2, 2, {1, 2, 3}}));
  EXPECT_FALSE(write_png("/nonexistent/folder/picture.png", pattern(2, 2, 1)));
}

}  // namespace
}  // namespace fovea
