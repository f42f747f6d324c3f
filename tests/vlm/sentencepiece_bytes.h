#pragma once
// Writes SentencePiece models by hand: well-formed ones, and ones that are wrong on purpose.

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace fovea::testing {

inline std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
  bytes += static_cast<char>(value);
  return bytes;
}
inline std::string integer_field(int number, std::uint64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3) + varint(value);
}
inline std::string bytes_field(int number, std::string_view content) {
  return varint((static_cast<std::uint64_t>(number) << 3) | 2) + varint(content.size()) +
         std::string(content);
}
inline std::string float_field(int number, float value) {
  std::string bytes = varint((static_cast<std::uint64_t>(number) << 3) | 5);
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>((bits >> shift) & 0xFF);
  return bytes;
}

enum PieceKind { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

inline std::string piece(std::string_view text, PieceKind kind = kNormal, float score = 0.0f) {
  return bytes_field(1, bytes_field(1, text) + float_field(2, score) +
                            integer_field(3, static_cast<std::uint64_t>(kind)));
}

/// The 256 byte pieces "<0x00>" ... "<0xFF>".
inline std::string byte_pieces() {
  std::string bytes;
  for (int value = 0; value < 256; ++value) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    bytes += piece(std::string("<0x") + kDigits[static_cast<std::size_t>(value / 16)] +
                       kDigits[static_cast<std::size_t>(value % 16)] + ">",
                   kByte);
  }
  return bytes;
}

struct ModelOptions {
  int model_type = 2;  // 1 unigram, 2 BPE
  bool byte_fallback = true;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = false;
  std::string unknown_surface = {};  // empty: SentencePiece's own
};

inline std::string specs(const ModelOptions& options = {}) {
  std::string trainer = integer_field(3, static_cast<std::uint64_t>(options.model_type)) +
                        integer_field(35, options.byte_fallback ? 1 : 0);
  if (!options.unknown_surface.empty()) trainer += bytes_field(44, options.unknown_surface);
  const std::string normalizer = bytes_field(1, "identity") + bytes_field(2, "") +
                                 integer_field(3, options.add_dummy_prefix ? 1 : 0) +
                                 integer_field(4, options.remove_extra_whitespaces ? 1 : 0);
  return bytes_field(2, trainer) + bytes_field(3, normalizer);
}

/// <unk> 0, <s> 1, </s> 2, bytes from 3 on, then a few words; BPE merges need every pair.
inline std::string small_model(const ModelOptions& options = {}) {
  std::string bytes = piece("<unk>", kUnknown) + piece("<s>", kControl) + piece("</s>", kControl);
  if (options.byte_fallback) bytes += byte_pieces();
  float score = -1.0f;
  for (const char* text :
       {"\xE2\x96\x81",
        "\xE2\x96\x81"
        "a",
        "\xE2\x96\x81"
        "b",
        "ab", "a", "b", "c", "abc", "\xE2\x96\x81\xE2\x96\x81", "\xE4\xBD\xA0"}) {
    bytes += piece(text, kNormal, score);
    score -= 1.0f;
  }
  bytes += piece("<sep>", kUserDefined);
  return bytes + specs(options);
}

}  // namespace fovea::testing
