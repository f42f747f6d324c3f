#include "vision/nmi_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>

#include "vision/digits.h"

namespace fovea {

namespace {

using Color = std::array<std::uint8_t, 3>;

constexpr int kWidth = 900, kHeight = 480;
constexpr int kLeft = 70, kRight = 880, kTop = 20, kBottom = 430;
constexpr Color kPaper{255, 255, 255}, kInk{40, 40, 48}, kFrame{170, 170, 178};
constexpr Color kHybrid{235, 241, 250}, kHead{150, 175, 215}, kMean{190, 70, 30};

void fill(Image& image, int left, int top, int right, int bottom, const Color& color) {
  for (int y = std::max(top, 0); y < std::min(bottom, image.height); ++y) {
    for (int x = std::max(left, 0); x < std::min(right, image.width); ++x) {
      std::copy_n(color.data(), 3, image.pixel(x, y));
    }
  }
}

void draw_dot(Image& image, double x, double y, int radius, const Color& color) {
  const auto left = static_cast<int>(std::lround(x)), top = static_cast<int>(std::lround(y));
  for (int dy = -radius; dy <= radius; ++dy) {
    const auto half = static_cast<int>(std::sqrt(radius * radius - dy * dy));
    fill(image, left - half, top + dy, left + half + 1, top + dy + 1, color);
  }
}

void draw_line(Image& image, double x0, double y0, double x1, double y1, const Color& color) {
  const int steps = static_cast<int>(std::max(std::abs(x1 - x0), std::abs(y1 - y0))) + 1;
  for (int i = 0; i <= steps; ++i) {
    const double share = static_cast<double>(i) / steps;
    draw_dot(image, x0 + share * (x1 - x0), y0 + share * (y1 - y0), 1, color);
  }
}

/// The smallest of 1, 2 and 5 times a power of ten that divides the axis into at most eight.
double tick_step(double top) {
  double step = 1e-4;
  for (int i = 0; top / step > 8.0; ++i) step *= i % 3 == 1 ? 2.5 : 2.0;
  return step;
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value);
  return text;
}

}  // namespace

Result<Image> draw_nmi_plot(const std::vector<std::vector<double>>& nmi,
                            const ReachThresholds& thresholds) {
  const auto as_many = [&](const std::vector<double>& heads) {
    return !heads.empty() && heads.size() == nmi.front().size();
  };
  if (nmi.empty() || !std::ranges::all_of(nmi, as_many)) {
    return make_error(ErrorCode::usage, "a plot needs layers with one value for each head");
  }
  double top = std::max({thresholds.local_above, thresholds.global_below, 1e-3}) * 1.25;
  for (const auto& heads : nmi) top = std::max(top, 1.05 * std::ranges::max(heads));
  const auto layers = static_cast<double>(nmi.size());
  const auto across = [&](std::size_t layer) {
    return kLeft + (static_cast<double>(layer) + 0.5) * (kRight - kLeft) / layers;
  };
  const auto up = [&](double value) { return kBottom - value / top * (kBottom - kTop); };

  Image image = Image::filled(kWidth, kHeight, kPaper[0], kPaper[1], kPaper[2]);
  fill(image, kLeft, static_cast<int>(up(thresholds.local_above)), kRight,
       static_cast<int>(up(thresholds.global_below)), kHybrid);
  const double step = tick_step(top);
  for (int i = 0; i * step <= top; ++i) {
    const auto y = static_cast<int>(std::lround(up(i * step)));
    fill(image, kLeft - 5, y, kLeft, y + 1, kInk);
    const std::string text = number_text(i * step);
    draw_text(image, text, kLeft - 10 - text_width(text, 2), y - kGlyphHeight, 2, kInk);
  }
  const std::size_t every = (nmi.size() + 23) / 24;  // numbers must not run into each other
  for (std::size_t layer = 0; layer < nmi.size(); ++layer) {
    const std::string text = std::to_string(layer);
    const auto x = static_cast<int>(std::lround(across(layer)));
    fill(image, x, kBottom, x + 1, kBottom + 5, kInk);
    if (layer % every == 0) {
      draw_text(image, text, x - text_width(text, 2) / 2, kBottom + 12, 2, kInk);
    }
  }
  fill(image, kLeft, kTop, kLeft + 1, kBottom + 1, kFrame);
  fill(image, kLeft, kBottom, kRight, kBottom + 1, kFrame);

  double before = 0;
  for (std::size_t layer = 0; layer < nmi.size(); ++layer) {
    for (const double value : nmi[layer]) draw_dot(image, across(layer), up(value), 4, kHead);
  }
  for (std::size_t layer = 0; layer < nmi.size(); ++layer) {
    const double mean = std::accumulate(nmi[layer].begin(), nmi[layer].end(), 0.0) /
                        static_cast<double>(nmi[layer].size());
    if (layer > 0) {
      draw_line(image, across(layer - 1), up(before), across(layer), up(mean), kMean);
    }
    draw_dot(image, across(layer), up(mean), 5, kMean);
    before = mean;
  }
  return image;
}

}  // namespace fovea
