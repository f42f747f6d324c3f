#pragma once
// A picture that one draws on with smooth strokes.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "vision/image.h"

namespace fovea::app {

using Color = std::array<std::uint8_t, 3>;

/// Coordinates are pixels from the upper left corner; pixel (i, j) covers [i, i + 1) x [j, j + 1).
struct Point {
  double x = 0, y = 0;
};

class Canvas {
 public:
  Canvas(int width, int height, Color background);

  /// A stroke with round ends; what lies outside the picture is left out.
  void line(Point from, Point to, double width, Color color);
  /// The same in pieces of `dash` pixels, with gaps as long.
  void dashed_line(Point from, Point to, double width, double dash, Color color);
  /// Fills a convex polygon.
  void polygon(const std::vector<Point>& corners, Color color);
  void disc(Point centre, double radius, Color color);

  enum class Anchor { left, middle, right };
  /// One line of text in strokes. `at`: on the base line, at the anchor; `size`: height of a
  /// capital letter in pixels. Characters beyond ASCII become one box each.
  void text(const std::string& text, Point at, double size, Anchor anchor, Color color);
  /// The same, read from below to above; `at` is on the base line.
  void text_upward(const std::string& text, Point at, double size, Anchor anchor, Color color);

  const Image& image() const { return image_; }

 private:
  /// Blends the colour into the pixels of a box by coverage(centre of the pixel) from 0 to 1.
  template <class Coverage>
  void blend(Point low, Point high, Color color, const Coverage& coverage);
  void strokes(const std::string& text, double size, Anchor anchor, Color color, bool upward,
               Point at);

  Image image_;
};

/// Width of a line of text, in pixels.
double text_width(const std::string& text, double size);

}  // namespace fovea::app
