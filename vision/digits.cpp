#include "vision/digits.h"

#include <algorithm>

namespace fovea {

namespace {

/// Rows from the top, the leftmost dot in bit 4.
using Glyph = std::array<std::uint8_t, kGlyphHeight>;

constexpr std::string_view kCharacters = "0123456789.-+e";
constexpr std::array<Glyph, 14> kGlyphs{{
    {0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110},
    {0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110},
    {0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111},
    {0b01110, 0b10001, 0b00001, 0b00110, 0b00001, 0b10001, 0b01110},
    {0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010},
    {0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110},
    {0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110},
    {0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000},
    {0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110},
    {0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100},
    {0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b01100, 0b01100},
    {0b00000, 0b00000, 0b00000, 0b11111, 0b00000, 0b00000, 0b00000},
    {0b00000, 0b00100, 0b00100, 0b11111, 0b00100, 0b00100, 0b00000},
    {0b00000, 0b00000, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110},
}};

}  // namespace

int text_width(std::string_view text, int scale) {
  return text.empty() ? 0 : (static_cast<int>(text.size()) * (kGlyphWidth + 1) - 1) * scale;
}

void draw_text(Image& image, std::string_view text, int left, int top, int scale,
               const std::array<std::uint8_t, 3>& color) {
  for (std::size_t index = 0; index < text.size(); ++index) {
    const std::size_t glyph = kCharacters.find(text[index]);
    if (glyph == std::string_view::npos) continue;
    const int glyph_left = left + static_cast<int>(index) * (kGlyphWidth + 1) * scale;
    for (int y = 0; y < kGlyphHeight * scale; ++y) {
      for (int x = 0; x < kGlyphWidth * scale; ++x) {
        const unsigned row = kGlyphs[glyph][static_cast<std::size_t>(y / scale)];
        const bool dot = ((row >> (kGlyphWidth - 1 - x / scale)) & 1) != 0;
        const int at_x = glyph_left + x, at_y = top + y;
        if (!dot || at_x < 0 || at_y < 0 || at_x >= image.width || at_y >= image.height) continue;
        std::copy_n(color.data(), 3, image.pixel(at_x, at_y));
      }
    }
  }
}

}  // namespace fovea
