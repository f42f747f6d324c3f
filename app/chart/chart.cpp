#include "app/chart/chart.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "app/chart/canvas.h"
#include "app/text.h"

namespace fovea::app {
namespace {

constexpr int kWidth = 1200, kHeight = 760;
constexpr double kLeft = 92, kTop = 64, kBottom = 676;  // of the field; its right side depends
constexpr double kLetters = 12, kTitleLetters = 16;
constexpr double kLegendRow = 26, kWidestLegend = 420;
constexpr double kMarker = 6;
constexpr double kTogether = 0.01;  // of the axis
constexpr Color kPaper{255, 255, 255}, kInk{40, 40, 44}, kGrid{226, 226, 230},
    kLevel{120, 120, 126};

// Okabe and Ito's colours, which people with any colour vision can tell apart; with four markers
// they name 28 series.
constexpr std::array<Color, 7> kColors{{{0, 114, 178},
                                        {213, 94, 0},
                                        {0, 158, 115},
                                        {204, 121, 167},
                                        {230, 159, 0},
                                        {86, 180, 233},
                                        {30, 30, 30}}};

struct Axis {
  double low = 0, high = 1;   // values
  double begin = 0, end = 1;  // pixels
  double at(double value) const { return begin + (value - low) / (high - low) * (end - begin); }
};

std::string tick_text(double value, double step) {
  const int decimals = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
  return format("%.*f", decimals, value == 0 ? 0.0 : value);  // not -0
}

void draw_marker(Canvas& canvas, std::size_t series, Point p) {
  const Color color = kColors[series % kColors.size()];
  switch (series / kColors.size() % 4) {
    case 0:
      canvas.disc(p, kMarker, color);
      break;
    case 1:
      canvas.polygon({{p.x - kMarker, p.y - kMarker},
                      {p.x + kMarker, p.y - kMarker},
                      {p.x + kMarker, p.y + kMarker},
                      {p.x - kMarker, p.y + kMarker}},
                     color);
      break;
    case 2:
      canvas.polygon({{p.x, p.y - 1.3 * kMarker},
                      {p.x + 1.3 * kMarker, p.y + kMarker},
                      {p.x - 1.3 * kMarker, p.y + kMarker}},
                     color);
      break;
    default:
      canvas.polygon({{p.x, p.y - 1.4 * kMarker},
                      {p.x + 1.4 * kMarker, p.y},
                      {p.x, p.y + 1.4 * kMarker},
                      {p.x - 1.4 * kMarker, p.y}},
                     color);
  }
}

/// As much of the text as fits, in letters of the usual size.
std::string shortened(std::string text, double width) {
  if (text_width(text, kLetters) <= width) return text;
  while (!text.empty() && text_width(text + "...", kLetters) > width) text.pop_back();
  return text + "...";
}

double legend_width(const Chart& chart) {
  double width = 0;
  for (const ChartSeries& series : chart.series) {
    width = std::max(width, text_width(series.name, kLetters));
  }
  for (const ChartLevel& level : chart.levels) {
    width = std::max(width, text_width(level.name, kLetters));
  }
  return std::min(width, kWidestLegend);
}

/// Range of all values, with `extra` of it beyond either end.
Result<Axis> axis_over(std::vector<double> values, double extra) {
  if (values.empty()) return make_error(ErrorCode::bad_input, "there is nothing to draw");
  if (std::any_of(values.begin(), values.end(), [](double v) { return !std::isfinite(v); })) {
    return make_error(ErrorCode::bad_input, "what should be drawn is not a number");
  }
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  Axis axis{*low, *high};
  const double range = axis.high > axis.low ? axis.high - axis.low : 1;
  axis.low -= extra * range;
  axis.high += extra * range;
  return axis;
}

/// What a series' line goes through: the points, and the mean of those that differ by less than
/// `together` in x (repeats with other seeds). `points` ascend in x.
std::vector<Point> joined_points(const std::vector<ChartPoint>& points, double together) {
  std::vector<Point> means;
  for (std::size_t begin = 0, end = 0; begin < points.size(); begin = end) {
    Point mean;
    for (end = begin; end < points.size() && points[end].x - points[begin].x <= together; ++end) {
      mean.x += points[end].x;
      mean.y += points[end].y;
    }
    const auto count = static_cast<double>(end - begin);
    means.push_back({mean.x / count, mean.y / count});
  }
  return means;
}

}  // namespace

std::vector<double> axis_ticks(double low, double high, int about) {
  const double rough = (high - low) / about;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double nice : {1.0, 2.0, 5.0}) {
    if (nice * power >= rough) {
      step = nice * power;
      break;
    }
  }
  std::vector<double> ticks;
  for (double k = std::ceil(low / step); k * step <= high + 1e-9 * step; ++k) {
    ticks.push_back(k * step);
  }
  return ticks;
}

Result<Image> draw_chart(const Chart& chart) {
  std::vector<double> xs, ys;
  for (const ChartSeries& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      xs.push_back(point.x);
      for (const double y : {point.y, point.low.value_or(point.y), point.high.value_or(point.y)}) {
        ys.push_back(y);
      }
    }
  }
  if (!xs.empty()) xs.push_back(0);
  for (const ChartLevel& level : chart.levels) ys.push_back(level.y);
  FOVEA_TRY(Axis x, axis_over(xs, 0.03));
  FOVEA_TRY(Axis y, axis_over(ys, 0.05));
  const double legend = legend_width(chart);
  const double right = kWidth - legend - 84;
  x.begin = kLeft;
  x.end = right;
  y.begin = kBottom;
  y.end = kTop;

  Canvas canvas(kWidth, kHeight, kPaper);
  const auto x_ticks = axis_ticks(x.low, x.high, 8), y_ticks = axis_ticks(y.low, y.high, 8);
  const auto step = [](const std::vector<double>& ticks) {
    return ticks.size() > 1 ? ticks[1] - ticks[0] : 1.0;
  };
  for (const double tick : x_ticks) {
    canvas.line({x.at(tick), kTop}, {x.at(tick), kBottom}, 1, kGrid);
    canvas.text(tick_text(tick, step(x_ticks)), {x.at(tick), kBottom + 26}, kLetters,
                Canvas::Anchor::middle, kInk);
  }
  for (const double tick : y_ticks) {
    canvas.line({kLeft, y.at(tick)}, {right, y.at(tick)}, 1, kGrid);
    canvas.text(tick_text(tick, step(y_ticks)), {kLeft - 14, y.at(tick) + 0.5 * kLetters}, kLetters,
                Canvas::Anchor::right, kInk);
  }
  canvas.line({kLeft, kTop}, {kLeft, kBottom}, 2, kInk);
  canvas.line({kLeft, kBottom}, {right, kBottom}, 2, kInk);
  canvas.text(chart.title, {kLeft, kTop - 26}, kTitleLetters, Canvas::Anchor::left, kInk);
  canvas.text(chart.x_label, {0.5 * (kLeft + right), kBottom + 58}, kLetters,
              Canvas::Anchor::middle, kInk);
  canvas.text_upward(chart.y_label, {32, 0.5 * (kTop + kBottom)}, kLetters, Canvas::Anchor::middle,
                     kInk);

  double row = kTop + 10;
  const auto legend_row = [&](const std::string& name, auto&& draw_sign) {
    draw_sign(Point{right + 40, row});
    canvas.text(shortened(name, legend), {right + 66, row + 0.5 * kLetters}, kLetters,
                Canvas::Anchor::left, kInk);
    row += kLegendRow;
  };
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const Color color = kColors[s % kColors.size()];
    std::vector<ChartPoint> points = chart.series[s].points;
    std::stable_sort(points.begin(), points.end(),
                     [](const ChartPoint& a, const ChartPoint& b) { return a.x < b.x; });
    for (std::size_t i = 0; i < points.size(); ++i) {
      const Point p{x.at(points[i].x), y.at(points[i].y)};
      if (points[i].low && points[i].high) {
        const double top = y.at(*points[i].high), bottom = y.at(*points[i].low);
        canvas.line({p.x, top}, {p.x, bottom}, 1.4, color);
        for (const double end : {top, bottom}) {
          canvas.line({p.x - 5, end}, {p.x + 5, end}, 1.4, color);
        }
      }
    }
    const std::vector<Point> means = joined_points(points, kTogether * (x.high - x.low));
    for (std::size_t i = 0; i + 1 < means.size(); ++i) {
      canvas.line({x.at(means[i].x), y.at(means[i].y)},
                  {x.at(means[i + 1].x), y.at(means[i + 1].y)}, 2.2, color);
    }
    for (const ChartPoint& point : points) {
      draw_marker(canvas, s, {x.at(point.x), y.at(point.y)});
    }
    legend_row(chart.series[s].name, [&](Point p) {
      canvas.line({p.x - 16, p.y}, {p.x + 16, p.y}, 2.2, color);
      draw_marker(canvas, s, p);
    });
  }
  for (std::size_t l = 0; l < chart.levels.size(); ++l) {
    const double dash = 3.0 + 4.0 * static_cast<double>(l);
    canvas.dashed_line({kLeft, y.at(chart.levels[l].y)}, {right, y.at(chart.levels[l].y)}, 1.6,
                       dash, kLevel);
    legend_row(chart.levels[l].name, [&](Point p) {
      canvas.dashed_line({p.x - 16, p.y}, {p.x + 16, p.y}, 1.6, std::min(dash, 11.0), kLevel);
    });
  }
  return canvas.image();
}

}  // namespace fovea::app
