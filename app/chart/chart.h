#pragma once
// A chart of points with error bars: axes, grid, labels and legend, as a picture.

#include <optional>
#include <string>
#include <vector>

#include "vision/image.h"

namespace fovea::app {

struct ChartPoint {
  double x = 0, y = 0;
  std::optional<double> low, high;  // error bar
};

/// Points of one name, joined in the order of x; where several have one x, through their mean.
struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points;
};

/// A level across the whole chart.
struct ChartLevel {
  std::string name;
  double y = 0;
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<ChartSeries> series;
  std::vector<ChartLevel> levels;
};

/// Steps of 1, 2 or 5 times a power of ten, `about` of them over the range. Precondition: low <
/// high.
std::vector<double> axis_ticks(double low, double high, int about);

/// 1200 x 760 pixels. Both axes cover all points, the x axis 0 as well. Errors: bad_input when
/// there is nothing to draw, or something that is no number.
Result<Image> draw_chart(const Chart& chart);

}  // namespace fovea::app
