#include "vision/resample.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/ops/picture/picture.h"

namespace fovea {
namespace {

double support_of(Resample resample) {
  switch (resample) {
    case Resample::nearest:
      return 0.0;
    case Resample::bilinear:
      return 1.0;
    case Resample::bicubic:
      return 2.0;
    case Resample::lanczos:
      return 3.0;
  }
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

/// The filter at distance x. Order of operations matters: the weights must round as Pillow's do.
double filter_value(Resample resample, double x) {
  switch (resample) {
    case Resample::nearest:
      return 0.0;
    case Resample::bilinear:
      x = std::abs(x);
      return x < 1.0 ? 1.0 - x : 0.0;
    case Resample::bicubic: {
      constexpr double a = -0.5;
      x = std::abs(x);
      if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
      if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
      return 0.0;
    }
    case Resample::lanczos:
      return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  }
  return 0.0;
}

/// The source pixels of results begin, begin + 1, ... of one axis.
AxisTaps filter_taps(int source, int result, int begin, int results, Resample resample) {
  const double scale = static_cast<double>(source) / result;
  const double filter_scale = std::max(scale, 1.0);
  const double support = support_of(resample) * filter_scale;
  AxisTaps taps;
  // A window never holds more source pixels than there are.
  taps.stride = static_cast<std::int64_t>(
      std::min<double>(std::ceil(support) * 2 + 1, static_cast<double>(source)));
  const auto stride = static_cast<std::size_t>(taps.stride);
  taps.first.resize(static_cast<std::size_t>(results));
  taps.count.resize(taps.first.size());
  taps.weights.resize(taps.first.size() * stride);
  std::vector<double> exact(stride);
  for (std::size_t index = 0; index < taps.first.size(); ++index) {
    const double center = (begin + static_cast<double>(index) + 0.5) * scale;
    const int from = std::max(0, static_cast<int>(center - support + 0.5));
    const int to = std::min(source, static_cast<int>(center + support + 0.5));
    const auto count = static_cast<std::size_t>(to - from);
    double total = 0.0;
    for (std::size_t tap = 0; tap < count; ++tap) {
      exact[tap] = filter_value(
          resample, (static_cast<double>(tap) + from - center + 0.5) * (1.0 / filter_scale));
      total += exact[tap];
    }
    for (std::size_t tap = 0; tap < count; ++tap) {
      const double weight = total != 0.0 ? exact[tap] / total : exact[tap];
      const double rounding = weight < 0 ? -0.5 : 0.5;
      taps.weights[index * stride + tap] =
          static_cast<std::int32_t>(rounding + weight * (1 << kTapBits));
    }
    taps.first[index] = from;
    taps.count[index] = to - from;
  }
  return taps;
}

/// Each result is one pixel of the source.
AxisTaps single_taps(std::vector<std::int32_t> pixels) {
  AxisTaps taps;
  taps.first = std::move(pixels);
  taps.count.assign(taps.first.size(), 1);
  taps.weights.assign(taps.first.size(), 1 << kTapBits);
  taps.stride = 1;
  return taps;
}

/// Pillow's nearest neighbour: source positions are summed up step by step, as it does.
std::vector<std::int32_t> nearest_pixels(int source, int result, int begin, int results) {
  std::vector<std::int32_t> pixels;
  const double scale = static_cast<double>(source) / result;
  double position = scale * 0.5;
  for (int index = 0; index < begin + results; ++index, position += scale) {
    if (index >= begin) pixels.push_back(std::min(static_cast<int>(position), source - 1));
  }
  return pixels;
}

AxisTaps axis_taps(int source, int result, int begin, int results, Resample resample) {
  if (resample == Resample::nearest) {
    return single_taps(nearest_pixels(source, result, begin, results));
  }
  // An axis that keeps its length is not filtered: every filter is 1 at 0 and 0 at whole distances.
  if (source != result) return filter_taps(source, result, begin, results, resample);
  std::vector<std::int32_t> pixels(static_cast<std::size_t>(results));
  std::iota(pixels.begin(), pixels.end(), begin);
  return single_taps(std::move(pixels));
}

}  // namespace

Status resample_window(Context& context, const Sheet& sheet, int width, int height,
                       Resample resample, const PixelWindow& window, TensorView out) {
  const Image& image = sheet.picture;
  PictureSheet source;
  source.picture = ConstTensorView(reinterpret_cast<const std::byte*>(image.rgb.data()), DType::u8,
                                   {image.height, std::int64_t{3} * image.width});
  source.left = sheet.left;
  source.top = sheet.top;
  source.width = sheet.width;
  source.color = sheet.color;
  const AxisTaps columns = axis_taps(sheet.width, width, window.left, window.width, resample);
  if (height == sheet.height) return sum_columns(context, source, columns, window.top, out);

  const AxisTaps rows = axis_taps(sheet.height, height, window.top, window.height, resample);
  const std::int64_t first_row = rows.first.front();
  const std::int64_t row_count = rows.first.back() + rows.count.back() - first_row;
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView narrowed,
            context.workspace.take({row_count, out.shape[1]}, DType::u8));
  FOVEA_CHECK(sum_columns(context, source, columns, first_row, narrowed));
  return sum_rows(context, narrowed, rows, first_row, out);
}

}  // namespace fovea
