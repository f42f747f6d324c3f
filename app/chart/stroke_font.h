#pragma once
// Letters as strokes, for the words of a chart.

#include <vector>

namespace fovea::app {

/// Units of the font: x from 0 to the glyph's width, y from the base line upward.
struct GlyphPoint {
  double x = 0, y = 0;
};

struct Glyph {
  double width = 0;
  std::vector<std::vector<GlyphPoint>> strokes;  // each a run of points to be joined
};

inline constexpr double kCapHeight = 6;
inline constexpr double kGlyphGap = 1.8;  // between two letters

/// The glyph of a printable ASCII character; a box for everything else.
const Glyph& glyph_of(char c);

}  // namespace fovea::app
