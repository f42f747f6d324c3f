#include "vision/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "kernels/base/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "vision/resample.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

// ---- Inner loops, compiled once for each instruction set ---------------------------------------

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int kWeightBits = 32 - 8 - 2;  // Pillow's PRECISION_BITS
using Ints = hn::ScalableTag<std::int32_t>;
using Bytes = hn::Rebind<std::uint8_t, Ints>;

/// Pixels of one step of the horizontal sum; the weights of a result pixel are padded with zeros to
/// whole steps.
std::size_t HorizontalStep() {
  return std::max<std::size_t>(hn::Lanes(Ints()) / 4, 1);
}

/// `count` pixels of three bytes become pixels of four, whose last means nothing.
void WidenRow(const std::uint8_t* HWY_RESTRICT rgb, std::size_t count,
              std::uint8_t* HWY_RESTRICT out) {
  const hn::ScalableTag<std::uint8_t> bytes;
  const std::size_t lanes = hn::Lanes(bytes);
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::Vec<decltype(bytes)> red, green, blue;
    hn::LoadInterleaved3(bytes, rgb + 3 * i, red, green, blue);
    hn::StoreInterleaved4(red, green, blue, blue, bytes, out + 4 * i);
  }
  for (; i < count; ++i) std::copy_n(rgb + 3 * i, 3, out + 4 * i);
}

#if HWY_TARGET != HWY_SCALAR
using OnePixel = hn::FixedTag<std::int32_t, 4>;

/// Sums of the pixels that lie side by side in a vector.
template <class Tag, class Vector>
hn::Vec<OnePixel> SumOfPixels(Tag tag, Vector sum) {
  if constexpr (hn::MaxLanes(Tag()) == 4) {
    return sum;
  } else {
    const hn::Half<Tag> half;
    return SumOfPixels(half, hn::Add(hn::LowerHalf(half, sum), hn::UpperHalf(half, sum)));
  }
}
#endif

/// The three bytes at `out` become a weighted sum of `steps` steps of pixels of four bytes; each
/// weight stands there four times. A fourth byte is written where there is `room` for it.
void SumPixels(const std::uint8_t* HWY_RESTRICT pixels, const std::int32_t* HWY_RESTRICT weights,
               std::int32_t steps, bool room, std::uint8_t* HWY_RESTRICT out) {
  constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);
#if HWY_TARGET == HWY_SCALAR
  static_cast<void>(room);
  for (int channel = 0; channel < 3; ++channel) {
    std::int32_t sum = kHalf;
    for (std::int32_t i = channel; i < 4 * steps; i += 4) sum += pixels[i] * weights[i];
    out[channel] = static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
  }
#else
  const Ints ints;
  const Bytes bytes;
  const OnePixel pixel;
  const hn::Rebind<std::uint8_t, OnePixel> pixel_bytes;
  const std::size_t lanes = hn::Lanes(ints);
  auto sum = hn::Zero(ints);
  for (std::int32_t step = 0; step < steps; ++step) {
    const auto part = hn::PromoteTo(ints, hn::LoadU(bytes, pixels));
    sum = hn::Add(sum, hn::Mul(part, hn::LoadU(ints, weights)));
    pixels += lanes;
    weights += lanes;
  }
  const auto whole = hn::Add(SumOfPixels(ints, sum), hn::Set(pixel, kHalf));
  const auto result = hn::DemoteTo(pixel_bytes, hn::ShiftRight<kWeightBits>(whole));
  if (room) {
    hn::StoreU(result, pixel_bytes, out);
  } else {
    std::uint8_t last[4];
    hn::StoreU(result, pixel_bytes, last);
    std::copy_n(last, 3, out);
  }
#endif
}

/// One row of `count` result pixels. Result pixel i sums the `steps[i]` steps of source pixels (of
/// four bytes) that begin at first[i]; its weights begin at i * stride, each one four times.
void HorizontalRow(const std::uint8_t* HWY_RESTRICT row, const std::int32_t* HWY_RESTRICT first,
                   const std::int32_t* HWY_RESTRICT steps, const std::int32_t* HWY_RESTRICT weights,
                   std::size_t stride, std::size_t count, std::uint8_t* HWY_RESTRICT out) {
  // A fourth byte is overwritten by the next pixel's first.
  for (std::size_t i = 0; i < count; ++i) {
    SumPixels(row + std::size_t{4} * first[i], weights + i * stride, steps[i], i + 1 < count,
              out + 3 * i);
  }
}

/// One result row of `bytes_in_row` bytes: the weighted sum of `count` rows, `stride` bytes apart.
void VerticalRow(const std::uint8_t* HWY_RESTRICT rows, std::size_t stride,
                 const std::int32_t* HWY_RESTRICT weights, std::size_t count,
                 std::size_t bytes_in_row, std::uint8_t* HWY_RESTRICT out) {
  const Ints ints;
  const Bytes bytes;
  const std::size_t lanes = hn::Lanes(ints);
  constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);
  std::size_t x = 0;
  for (; x + lanes <= bytes_in_row; x += lanes) {
    auto sum = hn::Set(ints, kHalf);
    for (std::size_t tap = 0; tap < count; ++tap) {
      const auto values = hn::PromoteTo(ints, hn::LoadU(bytes, rows + tap * stride + x));
      sum = hn::Add(sum, hn::Mul(values, hn::Set(ints, weights[tap])));
    }
    hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kWeightBits>(sum)), bytes, out + x);
  }
  for (; x < bytes_in_row; ++x) {
    std::int32_t sum = kHalf;
    for (std::size_t tap = 0; tap < count; ++tap) sum += rows[tap * stride + x] * weights[tap];
    out[x] = static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace fovea
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fovea {

HWY_EXPORT(HorizontalStep);
HWY_EXPORT(WidenRow);
HWY_EXPORT(HorizontalRow);
HWY_EXPORT(VerticalRow);

namespace {

// ---- Weights of one axis -----------------------------------------------------------------------

constexpr int kFractionBits = 32 - 8 - 2;

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

/// Which source pixels make each result pixel of a window, and with what weights.
struct AxisWeights {
  std::vector<std::int32_t> first;    // [results]
  std::vector<std::int32_t> count;    // [results]
  std::vector<std::int32_t> weights;  // [results, stride], zero beyond count
  std::size_t stride = 0;
};

AxisWeights axis_weights(int source, int result, int begin, int results, Resample resample) {
  const double scale = static_cast<double>(source) / result;
  const double filter_scale = std::max(scale, 1.0);
  const double support = support_of(resample) * filter_scale;
  AxisWeights axis;
  // A window never holds more source pixels than there are.
  axis.stride = static_cast<std::size_t>(
      std::min<double>(std::ceil(support) * 2 + 1, static_cast<double>(source)));
  axis.first.resize(static_cast<std::size_t>(results));
  axis.count.resize(axis.first.size());
  axis.weights.resize(axis.first.size() * axis.stride);
  std::vector<double> exact(axis.stride);
  for (std::size_t index = 0; index < axis.first.size(); ++index) {
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
      axis.weights[index * axis.stride + tap] =
          static_cast<std::int32_t>(rounding + weight * (1 << kFractionBits));
    }
    axis.first[index] = from;
    axis.count[index] = to - from;
  }
  return axis;
}

/// The same weights as HorizontalRow wants them: whole steps, each weight once for every byte of a
/// pixel.
AxisWeights for_horizontal_rows(const AxisWeights& axis, std::size_t step) {
  AxisWeights spread;
  const std::size_t padded = (axis.stride + step - 1) / step * step;
  spread.first = axis.first;
  spread.count.resize(axis.count.size());
  spread.stride = 4 * padded;
  spread.weights.resize(axis.first.size() * spread.stride);
  for (std::size_t index = 0; index < axis.first.size(); ++index) {
    const auto count = static_cast<std::size_t>(axis.count[index]);
    spread.count[index] = static_cast<std::int32_t>((count + step - 1) / step);
    for (std::size_t tap = 0; tap < count; ++tap) {
      std::fill_n(&spread.weights[index * spread.stride + 4 * tap], 4,
                  axis.weights[index * axis.stride + tap]);
    }
  }
  return spread;
}

// ---- The two passes ----------------------------------------------------------------------------

void fill_pixels(std::uint8_t* out, int count, const std::array<std::uint8_t, 3>& color) {
  for (int i = 0; i < count; ++i) std::copy_n(color.data(), 3, out + std::ptrdiff_t{3} * i);
}

/// Columns [left, left + count) of one row of the sheet; `pixels`: of the picture in it.
void copy_pixels(const Sheet& sheet, const std::uint8_t* pixels, int left, int count,
                 std::uint8_t* out) {
  for (int i = 0; i < count; ++i) {
    const int x = left + i - sheet.left;
    const bool inside = x >= 0 && x < sheet.picture.width;
    std::copy_n(inside ? pixels + std::ptrdiff_t{3} * x : sheet.color.data(), 3,
                out + std::ptrdiff_t{3} * i);
  }
}

/// Rows [top, top + rows.rows()) of the sheet, resampled to `width` and cut to the window's
/// columns.
Status horizontal_pass(Context& context, const Sheet& sheet, int width, Resample resample,
                       const PixelWindow& window, int top, TensorView rows) {
  const std::size_t step = HWY_DYNAMIC_DISPATCH(HorizontalStep)();
  const bool same_width = width == sheet.width;
  AxisWeights axis;
  if (!same_width) {
    axis = for_horizontal_rows(
        axis_weights(sheet.width, width, window.left, window.width, resample), step);
  }
  // Every row is laid out once more with its margins, four bytes a pixel, and with room behind it,
  // because the last step of a sum reads on past the row (with weights of zero).
  const std::int64_t pieces = std::clamp<std::int64_t>(rows.rows() / 8, 1, context.threads);
  const auto room = 4 * (sheet.width + static_cast<std::int64_t>(step));
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView row_buffers, context.workspace.take({pieces, room}, DType::u8));

  const Image& picture = sheet.picture;
  parallel_for(context.threads, pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      auto* buffer = row_buffers.row<std::uint8_t>(piece);
      std::fill_n(buffer, room, std::uint8_t{0});
      for (int x = 0; x < sheet.width; ++x) std::copy_n(sheet.color.data(), 3, buffer + 4 * x);
      const std::int64_t last = rows.rows() * (piece + 1) / pieces;
      for (std::int64_t index = rows.rows() * piece / pieces; index < last; ++index) {
        auto* out = rows.row<std::uint8_t>(index);
        const std::int64_t y = top + index - sheet.top;
        if (y < 0 || y >= picture.height) {
          // Weights sum to 1 within rounding, too little to move one colour off its level.
          fill_pixels(out, window.width, sheet.color);
          continue;
        }
        const std::uint8_t* pixels = picture.pixel(0, static_cast<int>(y));
        if (same_width) {
          copy_pixels(sheet, pixels, window.left, window.width, out);
          continue;
        }
        HWY_DYNAMIC_DISPATCH(WidenRow)
        (pixels, static_cast<std::size_t>(picture.width), buffer + std::ptrdiff_t{4} * sheet.left);
        HWY_DYNAMIC_DISPATCH(HorizontalRow)
        (buffer, axis.first.data(), axis.count.data(), axis.weights.data(), axis.stride,
         axis.first.size(), out);
      }
    }
  });
  return {};
}

/// Pillow's nearest neighbour: source positions are summed up step by step, as it does.
std::vector<int> nearest_positions(int source, int result) {
  std::vector<int> positions(static_cast<std::size_t>(result));
  const double scale = static_cast<double>(source) / result;
  double position = scale * 0.5;
  for (int& chosen : positions) {
    chosen = std::min(static_cast<int>(position), source - 1);
    position += scale;
  }
  return positions;
}

Image nearest_window(const Sheet& sheet, int width, int height, const PixelWindow& window) {
  const Image& picture = sheet.picture;
  const std::vector<int> columns = nearest_positions(sheet.width, width);
  const std::vector<int> rows = nearest_positions(sheet.height, height);
  Image result = Image::filled(window.width, window.height, 0, 0, 0);
  for (int y = 0; y < window.height; ++y) {
    for (int x = 0; x < window.width; ++x) {
      const int from_x = columns[static_cast<std::size_t>(window.left + x)] - sheet.left;
      const int from_y = rows[static_cast<std::size_t>(window.top + y)] - sheet.top;
      const bool inside =
          from_x >= 0 && from_x < picture.width && from_y >= 0 && from_y < picture.height;
      std::copy_n(inside ? picture.pixel(from_x, from_y) : sheet.color.data(), 3,
                  result.pixel(x, y));
    }
  }
  return result;
}

}  // namespace

Result<Image> resample_window(Context& context, const Sheet& sheet, int width, int height,
                              Resample resample, const PixelWindow& window) {
  if (resample == Resample::nearest) return nearest_window(sheet, width, height, window);

  // An axis that keeps its length is not filtered: every filter is 1 at 0 and 0 at whole distances.
  const bool vertical = height != sheet.height;
  AxisWeights axis;
  int first_row = window.top, row_count = window.height;
  if (vertical) {
    axis = axis_weights(sheet.height, height, window.top, window.height, resample);
    first_row = axis.first.front();
    row_count = axis.first.back() + axis.count.back() - first_row;
  }

  const auto out_bytes = static_cast<std::int64_t>(window.width) * 3;
  Image result{window.width, window.height, {}};
  result.rgb.resize(static_cast<std::size_t>(out_bytes) * static_cast<std::size_t>(window.height));
  TensorView out(reinterpret_cast<std::byte*>(result.rgb.data()), DType::u8,
                 {window.height, out_bytes});
  if (!vertical) {
    FOVEA_CHECK(horizontal_pass(context, sheet, width, resample, window, first_row, out));
    return result;
  }

  const Workspace::Scope scope(context.workspace);
  const std::uint8_t* rows = nullptr;
  std::int64_t stride = 0;
  if (width != sheet.width || sheet.has_margin()) {
    FOVEA_TRY(const TensorView narrowed, context.workspace.take({row_count, out_bytes}, DType::u8));
    FOVEA_CHECK(horizontal_pass(context, sheet, width, resample, window, first_row, narrowed));
    rows = narrowed.as<std::uint8_t>();
    stride = out_bytes;
  } else {
    rows = sheet.picture.pixel(window.left, first_row);
    stride = static_cast<std::int64_t>(sheet.width) * 3;
  }
  parallel_for(context.threads, window.height, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t y = begin; y < end; ++y) {
      const auto index = static_cast<std::size_t>(y);
      HWY_DYNAMIC_DISPATCH(VerticalRow)
      (rows + (axis.first[index] - first_row) * stride, static_cast<std::size_t>(stride),
       &axis.weights[index * axis.stride], static_cast<std::size_t>(axis.count[index]),
       static_cast<std::size_t>(out_bytes), out.row<std::uint8_t>(y));
    }
  });
  return result;
}

}  // namespace fovea
#endif  // HWY_ONCE
