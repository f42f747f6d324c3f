#pragma once
// Numbers written into a picture, in a tiny font of our own.

#include <array>
#include <cstdint>
#include <string_view>

#include "vision/image.h"

namespace fovea {

inline constexpr int kGlyphWidth = 5, kGlyphHeight = 7;

/// Width in pixels of a text whose dots are `scale` pixels wide.
int text_width(std::string_view text, int scale);

/// Draws the digits and the signs . - + e with the upper left corner at (left, top); other
/// characters leave a gap, and what lies outside the picture is left out.
void draw_text(Image& image, std::string_view text, int left, int top, int scale,
               const std::array<std::uint8_t, 3>& color);

}  // namespace fovea
