#pragma once
// Maps drawn on pictures: colour maps, resampling of a token grid, the hatching of pruned cells.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vision/image.h"

namespace fovea {

enum class ColorMap { viridis, inferno, turbo, gray };
Result<ColorMap> parse_color_map(const std::string& name);
/// t in [0, 1] (clamped) to 8-bit RGB.
std::array<std::uint8_t, 3> color_of(ColorMap map, double t);

/// Values of a token grid over a rectangle of the original picture.
struct GridMap {
  int rows = 0, cols = 0;
  std::vector<float> values;  // [rows, cols]; NaN: this cell was pruned
  PixelRect rect;             // where the grid lies on the picture
};

struct OverlayOptions {
  ColorMap color_map = ColorMap::turbo;
  double opacity = 0.55;            // of the map where it is strongest; 0 shows the picture alone
  bool smooth = true;               // bilinear between cell centres, else flat cells
  std::optional<double> low, high;  // value range; default 0 and the largest finite value
  bool hatch_pruned = true;
  bool color_bar = true;  // a bar with the range's ends under the picture
  int min_side = 672;     // small pictures are enlarged (nearest multiple) before drawing
};

/// The picture with the map over it, in original coordinates; what lies outside `rect` is dimmed.
Result<Image> draw_overlay(const Image& picture, const GridMap& map,
                           const OverlayOptions& options = {});
/// The map alone, cell by cell, without the picture.
Result<Image> draw_map(const GridMap& map, const OverlayOptions& options = {});

}  // namespace fovea
