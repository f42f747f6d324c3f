#include "vision/overlay.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <new>
#include <utility>

#include "kernels/context.h"
#include "vision/digits.h"
#include "vision/preprocess.h"

namespace fovea {

namespace {

using Color = std::array<std::uint8_t, 3>;

constexpr int kMaxGridSide = 4096;
constexpr Color kPaper{255, 255, 255}, kInk{40, 40, 48};

Error wrong_use(const std::string& message) {
  return make_error(ErrorCode::usage, message);
}

Status check(const GridMap& map, const OverlayOptions& options) {
  const bool grid = map.rows >= 1 && map.cols >= 1 && map.rows <= kMaxGridSide &&
                    map.cols <= kMaxGridSide &&
                    map.values.size() == static_cast<std::size_t>(map.rows) * map.cols;
  if (!grid) {
    return wrong_use("a map of " + std::to_string(map.rows) + " x " + std::to_string(map.cols) +
                     " cells with " + std::to_string(map.values.size()) + " values");
  }
  if (!(options.opacity >= 0.0 && options.opacity <= 1.0)) {
    return wrong_use("the opacity of a map must lie from 0 to 1").in_field("opacity");
  }
  if (options.min_side < 1 || options.min_side > kMaxGridSide) {
    return wrong_use("the smallest side of a drawing must lie from 1 to " +
                     std::to_string(kMaxGridSide))
        .in_field("min_side");
  }
  const double low = options.low.value_or(0.0), high = options.high.value_or(low);
  if (!std::isfinite(low) || !std::isfinite(high) || low > high) {
    return wrong_use("the range of a map must be finite, low before high");
  }
  return {};
}

/// Values to colours.
class Scale {
 public:
  Scale(const GridMap& map, const OverlayOptions& options) : low_(options.low.value_or(0.0)) {
    high_ = low_;
    for (const float value : map.values) {
      if (std::isfinite(value)) high_ = std::max<double>(high_, value);
    }
    if (options.high) high_ = *options.high;
    for (std::size_t step = 0; step < table_.size(); ++step) {
      table_[step] = color_of(options.color_map,
                              static_cast<double>(step) / static_cast<double>(table_.size() - 1));
    }
  }

  double low() const { return low_; }
  double high() const { return high_; }
  /// Place in the range, 0 to 1; infinities lie at its ends.
  double strength(double value) const {
    if (!(high_ > low_)) return 0.0;
    return std::clamp((value - low_) / (high_ - low_), 0.0, 1.0);
  }
  const Color& color(double strength) const {
    return table_[static_cast<std::size_t>(strength * static_cast<double>(table_.size() - 1))];
  }

 private:
  double low_, high_;
  std::array<Color, 1024> table_{};
};

Color mix(const Color& from, const Color& to, double part) {
  Color mixed{};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const double value = from[channel] + (to[channel] - from[channel]) * part;
    mixed[channel] = static_cast<std::uint8_t>(value + 0.5);
  }
  return mixed;
}

/// Towards a darker grey of the same brightness: what is not part of the map steps back.
Color dimmed(const Color& color, double brightness) {
  const double grey = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2];
  Color result{};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const double muted = color[channel] * 0.4 + grey * 0.6;
    result[channel] = static_cast<std::uint8_t>(muted * brightness);
  }
  return result;
}

/// Diagonal lines, `period` pixels apart.
bool on_hatch(int x, int y, int period) {
  return (x + y) % period < std::max(1, period / 6);
}

Color hatched(const Color& under, int x, int y, int period) {
  const Color muted = dimmed(under, 0.55);
  return on_hatch(x, y, period) ? mix(muted, kPaper, 0.35) : muted;
}

// ---- Values between cell centres
// -----------------------------------------------------------------

/// Where a pixel's column (or row) lies on the grid: its cell, and the two cells whose centres it
/// lies between with the weight of the second. cell is -1 outside the grid.
struct GridPlace {
  int cell = -1;
  int first = 0, second = 0;
  double part = 0.0;
};

std::vector<GridPlace> grid_places(int pixels, double pixel_size, double begin, double extent,
                                   int cells) {
  std::vector<GridPlace> places(static_cast<std::size_t>(pixels));
  for (int pixel = 0; pixel < pixels; ++pixel) {
    const double position = ((pixel + 0.5) * pixel_size - begin) / extent * cells;
    if (!(position >= 0.0 && position < cells)) continue;
    GridPlace& place = places[static_cast<std::size_t>(pixel)];
    place.cell = static_cast<int>(position);
    const double centre = std::max(position - 0.5, 0.0);
    place.first = static_cast<int>(centre);
    place.second = std::min(place.first + 1, cells - 1);
    place.part = centre - place.first;
  }
  return places;
}

/// Bilinear among the cells that were not pruned. Precondition: at least one of the four was not.
double smooth_value(const GridMap& map, const GridPlace& column, const GridPlace& row) {
  double total = 0.0, sum = 0.0;
  const auto add = [&](int x, int y, double weight) {
    const float value = map.values[static_cast<std::size_t>(y) * map.cols + x];
    if (std::isnan(value)) return;
    total += weight;
    sum += weight * value;
  };
  add(column.first, row.first, (1 - column.part) * (1 - row.part));
  add(column.second, row.first, column.part * (1 - row.part));
  add(column.first, row.second, (1 - column.part) * row.part);
  add(column.second, row.second, column.part * row.part);
  return sum / total;
}

// ---- The bar
// -------------------------------------------------------------------------------------

/// The drawing with a strip under it: the colours from low to high, and the two numbers. A drawing
/// that is too narrow or too tall for it stays as it is.
Image with_color_bar(Image drawing, const Scale& scale) {
  const int text_scale = std::clamp(drawing.width / 240, 1, 8);
  const int margin = 6 * text_scale, bar = 12 * text_scale;
  const int text = kGlyphHeight * text_scale;
  const int strip = margin + bar + margin / 2 + text + margin;
  if (drawing.width < 64 || drawing.height + strip > kMaxImageSide ||
      std::int64_t{drawing.width} * (drawing.height + strip) > kMaxImagePixels) {
    return drawing;
  }
  const int top = drawing.height;
  Image whole =
      Image::filled(drawing.width, drawing.height + strip, kPaper[0], kPaper[1], kPaper[2]);
  std::ranges::copy(drawing.rgb, whole.rgb.begin());

  const int left = margin, width = whole.width - 2 * margin;
  for (int y = top + margin; y < top + margin + bar; ++y) {
    for (int x = 0; x < width; ++x) {
      const Color& color = scale.color(static_cast<double>(x) / (width - 1));
      std::copy_n(color.data(), 3, whole.pixel(left + x, y));
    }
  }
  const auto number = [](double value) {
    std::array<char, 32> letters{};
    std::snprintf(letters.data(), letters.size(), "%.3g", value);
    return std::string(letters.data());
  };
  const int text_top = top + margin + bar + margin / 2;
  const std::string low = number(scale.low()), high = number(scale.high());
  draw_text(whole, low, left, text_top, text_scale, kInk);
  draw_text(whole, high, left + width - text_width(high, text_scale), text_top, text_scale, kInk);
  return whole;
}

/// Whole multiple by which a drawing is enlarged so that its smaller side comes nearest to
/// `wanted`.
int enlargement(int width, int height, int wanted) {
  const double ratio = static_cast<double>(wanted) / std::min(width, height);
  int factor = std::max(1, static_cast<int>(std::lround(ratio)));
  const auto fits = [&](std::int64_t times) {
    return width * times <= kMaxImageSide && height * times <= kMaxImageSide &&
           width * times * height * times <= kMaxImagePixels;
  };
  while (factor > 1 && !fits(factor)) --factor;
  return factor;
}

Result<Image> overlay(const Image& picture, const GridMap& map, const OverlayOptions& options) {
  const Scale scale(map, options);
  const int factor = enlargement(picture.width, picture.height, options.min_side);
  Context context;
  FOVEA_TRY(Image drawing, resize_like_pillow(context, picture, picture.width * factor,
                                              picture.height * factor, Resample::bicubic));
  const std::vector<GridPlace> columns =
      grid_places(drawing.width, 1.0 / factor, map.rect.x, map.rect.width, map.cols);
  const std::vector<GridPlace> rows =
      grid_places(drawing.height, 1.0 / factor, map.rect.y, map.rect.height, map.rows);
  const int period = std::max(6, std::min(drawing.width, drawing.height) / 84);
  for (int y = 0; y < drawing.height; ++y) {
    const GridPlace& row = rows[static_cast<std::size_t>(y)];
    for (int x = 0; x < drawing.width; ++x) {
      const GridPlace& column = columns[static_cast<std::size_t>(x)];
      std::uint8_t* pixel = drawing.pixel(x, y);
      Color color{pixel[0], pixel[1], pixel[2]};
      if (row.cell < 0 || column.cell < 0) {
        color = dimmed(color, 0.35);
      } else {
        const float cell = map.values[static_cast<std::size_t>(row.cell) * map.cols + column.cell];
        if (!std::isnan(cell)) {
          const double value = options.smooth ? smooth_value(map, column, row) : cell;
          const double strength = scale.strength(value);
          color = mix(color, scale.color(strength), options.opacity * (0.4 + 0.6 * strength));
        } else if (options.hatch_pruned) {
          color = hatched(color, x, y, period);
        }
      }
      std::copy_n(color.data(), 3, pixel);
    }
  }
  return options.color_bar ? with_color_bar(std::move(drawing), scale) : std::move(drawing);
}

Image cells(const GridMap& map, const OverlayOptions& options) {
  constexpr Color kPrunedCell{150, 150, 156};
  const Scale scale(map, options);
  const int side = enlargement(map.cols, map.rows, options.min_side);
  Image drawing = Image::filled(map.cols * side, map.rows * side, 0, 0, 0);
  const int period = std::max(6, std::min(drawing.width, drawing.height) / 84);
  for (int y = 0; y < drawing.height; ++y) {
    for (int x = 0; x < drawing.width; ++x) {
      const float value = map.values[static_cast<std::size_t>(y / side) * map.cols + x / side];
      Color color = kPrunedCell;
      if (!std::isnan(value)) {
        color = scale.color(scale.strength(value));
      } else if (options.hatch_pruned) {
        color = hatched(kPrunedCell, x, y, period);
      }
      std::copy_n(color.data(), 3, drawing.pixel(x, y));
    }
  }
  return options.color_bar ? with_color_bar(std::move(drawing), scale) : std::move(drawing);
}

Error no_memory() {
  return make_error(ErrorCode::out_of_memory, "no memory to draw a map");
}

}  // namespace

Result<Image> draw_overlay(const Image& picture, const GridMap& map,
                           const OverlayOptions& options) {
  FOVEA_CHECK(check(map, options));
  const PixelRect& rect = map.rect;
  const bool placed = std::isfinite(rect.x) && std::isfinite(rect.y) && std::isfinite(rect.width) &&
                      std::isfinite(rect.height) && rect.width > 0 && rect.height > 0;
  if (!placed) return wrong_use("a map needs a rectangle of positive size on the picture");
  if (picture.width < 1 || picture.height < 1) return wrong_use("there is no picture to draw on");
  try {
    return overlay(picture, map, options);
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
}

Result<Image> draw_map(const GridMap& map, const OverlayOptions& options) {
  FOVEA_CHECK(check(map, options));
  try {
    return cells(map, options);
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
}

}  // namespace fovea
