#include "app/chart/canvas.h"

#include <algorithm>
#include <cmath>

#include "app/chart/stroke_font.h"

namespace fovea::app {
namespace {

constexpr double kStrokeShare = 0.13;  // of the letters' height

double length(Point p) {
  return std::sqrt(p.x * p.x + p.y * p.y);
}

/// Distance of p from the segment between a and b.
double distance(Point p, Point a, Point b) {
  const Point along{b.x - a.x, b.y - a.y}, to{p.x - a.x, p.y - a.y};
  const double square = along.x * along.x + along.y * along.y;
  const double t =
      square > 0 ? std::clamp((to.x * along.x + to.y * along.y) / square, 0.0, 1.0) : 0.0;
  return length({to.x - t * along.x, to.y - t * along.y});
}

/// Share of a pixel that a shape covers whose edge is this far beyond the pixel's centre.
double coverage_at(double beyond) {
  return std::clamp(0.5 + beyond, 0.0, 1.0);
}

}  // namespace

Canvas::Canvas(int width, int height, Color background)
    : image_(Image::filled(width, height, background[0], background[1], background[2])) {}

template <class Coverage>
void Canvas::blend(Point low, Point high, Color color, const Coverage& coverage) {
  const auto cut = [](double value, int most) {
    return static_cast<int>(std::clamp(value, 0.0, static_cast<double>(most)));
  };
  const int left = cut(low.x - 1, image_.width), right = cut(high.x + 2, image_.width);
  const int top = cut(low.y - 1, image_.height), bottom = cut(high.y + 2, image_.height);
  for (int y = top; y < bottom; ++y) {
    for (int x = left; x < right; ++x) {
      const double share = coverage(Point{x + 0.5, y + 0.5});
      if (share <= 0) continue;
      std::uint8_t* pixel = image_.pixel(x, y);
      for (std::size_t c = 0; c < 3; ++c) {
        pixel[c] = static_cast<std::uint8_t>(std::lround(pixel[c] + share * (color[c] - pixel[c])));
      }
    }
  }
}

void Canvas::line(Point from, Point to, double width, Color color) {
  const double half = 0.5 * width;
  blend({std::min(from.x, to.x) - half, std::min(from.y, to.y) - half},
        {std::max(from.x, to.x) + half, std::max(from.y, to.y) + half}, color,
        [&](Point p) { return coverage_at(half - distance(p, from, to)); });
}

void Canvas::dashed_line(Point from, Point to, double width, double dash, Color color) {
  const double whole = length({to.x - from.x, to.y - from.y});
  const auto at = [&](double way) {
    const double t = whole > 0 ? way / whole : 0;
    return Point{from.x + t * (to.x - from.x), from.y + t * (to.y - from.y)};
  };
  for (double way = 0; way < whole; way += 2 * dash) {
    line(at(way), at(std::min(way + dash, whole)), width, color);
  }
}

void Canvas::polygon(const std::vector<Point>& corners, Color color) {
  Point low = corners.front(), high = corners.front(), centre;
  for (const Point& corner : corners) {
    low = {std::min(low.x, corner.x), std::min(low.y, corner.y)};
    high = {std::max(high.x, corner.x), std::max(high.y, corner.y)};
    centre.x += corner.x / static_cast<double>(corners.size());
    centre.y += corner.y / static_cast<double>(corners.size());
  }
  blend(low, high, color, [&](Point p) {
    double inside = length({high.x - low.x, high.y - low.y});
    for (std::size_t i = 0; i < corners.size(); ++i) {
      const Point a = corners[i], b = corners[(i + 1) % corners.size()];
      const Point normal{a.y - b.y, b.x - a.x};
      const auto side = [&](Point q) {
        return (normal.x * (q.x - a.x) + normal.y * (q.y - a.y)) / length(normal);
      };
      inside = std::min(inside, side(centre) > 0 ? side(p) : -side(p));
    }
    return coverage_at(inside);
  });
}

void Canvas::disc(Point centre, double radius, Color color) {
  line(centre, centre, 2 * radius, color);
}

void Canvas::strokes(const std::string& text, double size, Anchor anchor, Color color, bool upward,
                     Point at) {
  const double whole = text_width(text, size);
  double x = anchor == Anchor::left ? 0 : anchor == Anchor::middle ? -0.5 * whole : -whole;
  const double scale = size / kCapHeight;
  const auto place = [&](GlyphPoint p) {
    const double right = x + scale * p.x, up = scale * p.y;
    return upward ? Point{at.x - up, at.y - right} : Point{at.x + right, at.y - up};
  };
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0U) == 0x80U) continue;  // inside a code point
    const Glyph& glyph = glyph_of(c);
    for (const auto& stroke : glyph.strokes) {
      for (std::size_t i = 0; i + 1 < stroke.size(); ++i) {
        line(place(stroke[i]), place(stroke[i + 1]), kStrokeShare * size, color);
      }
    }
    x += scale * (glyph.width + kGlyphGap);
  }
}

void Canvas::text(const std::string& text, Point at, double size, Anchor anchor, Color color) {
  strokes(text, size, anchor, color, false, at);
}

void Canvas::text_upward(const std::string& text, Point at, double size, Anchor anchor,
                         Color color) {
  strokes(text, size, anchor, color, true, at);
}

double text_width(const std::string& text, double size) {
  double width = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0U) == 0x80U) continue;
    width += glyph_of(c).width + kGlyphGap;
  }
  return std::max(0.0, width - kGlyphGap) * size / kCapHeight;
}

}  // namespace fovea::app
