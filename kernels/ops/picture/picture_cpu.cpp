#include <algorithm>
#include <string>
#include <vector>

#include "kernels/base/parallel.h"
#include "kernels/ops/common/checks.h"
#include "kernels/ops/picture/picture.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/picture/picture_cuda.h"
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ops/picture/picture_cpu.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

// ---- Inner loops, compiled once for each instruction set ---------------------------------------

HWY_BEFORE_NAMESPACE();
namespace fovea {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

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
  constexpr std::int32_t kHalf = 1 << (kTapBits - 1);
#if HWY_TARGET == HWY_SCALAR
  static_cast<void>(room);
  for (int channel = 0; channel < 3; ++channel) {
    std::int32_t sum = kHalf;
    for (std::int32_t i = channel; i < 4 * steps; i += 4) sum += pixels[i] * weights[i];
    out[channel] = static_cast<std::uint8_t>(std::clamp(sum >> kTapBits, 0, 255));
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
  const auto result = hn::DemoteTo(pixel_bytes, hn::ShiftRight<kTapBits>(whole));
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
  constexpr std::int32_t kHalf = 1 << (kTapBits - 1);
  std::size_t x = 0;
  for (; x + lanes <= bytes_in_row; x += lanes) {
    auto sum = hn::Set(ints, kHalf);
    for (std::size_t tap = 0; tap < count; ++tap) {
      const auto values = hn::PromoteTo(ints, hn::LoadU(bytes, rows + tap * stride + x));
      sum = hn::Add(sum, hn::Mul(values, hn::Set(ints, weights[tap])));
    }
    hn::StoreU(hn::DemoteTo(bytes, hn::ShiftRight<kTapBits>(sum)), bytes, out + x);
  }
  for (; x < bytes_in_row; ++x) {
    std::int32_t sum = kHalf;
    for (std::size_t tap = 0; tap < count; ++tap) sum += rows[tap * stride + x] * weights[tap];
    out[x] = static_cast<std::uint8_t>(std::clamp(sum >> kTapBits, 0, 255));
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

// ---- Checks ------------------------------------------------------------------------------------

Error usage(const char* field, const std::string& message) {
  return make_error(ErrorCode::usage, message).in_field(field);
}

/// Rows of bytes where the context computes, or `host_too`, in the host's memory.
Status check_bytes(const Context& context, const char* field, ConstTensorView view, bool host_too) {
  const bool there =
      view.device == context.device || (host_too && view.device.kind == DeviceKind::cpu);
  if (view.dtype == DType::u8 && view.shape.rank() == 2 && there &&
      view.row_stride >= view.shape[1]) {
    return {};
  }
  return usage(field, "expected rows of bytes where the context computes, found " +
                          std::string(dtype_name(view.dtype)) + " " + view.shape.to_string());
}

/// That taps name pixels of [0, source), for `results` results.
Status check_taps(const char* field, const AxisTaps& taps, std::int64_t begin, std::int64_t end,
                  std::int64_t results) {
  const auto named = static_cast<std::int64_t>(taps.first.size());
  if (named != results || taps.count.size() != taps.first.size() || taps.stride < 1 ||
      static_cast<std::int64_t>(taps.weights.size()) != named * taps.stride) {
    return usage(field, "expected taps of " + std::to_string(results) +
                            " results, found those of " + std::to_string(named));
  }
  for (std::size_t i = 0; i < taps.first.size(); ++i) {
    if (taps.first[i] < begin || taps.count[i] < 1 || taps.count[i] > taps.stride ||
        taps.first[i] + std::int64_t{taps.count[i]} > end) {
      return usage(field, "result " + std::to_string(i) + " is made of pixels outside the source");
    }
  }
  return {};
}

// ---- The sums on the CPU -----------------------------------------------------------------------

/// The taps as HorizontalRow wants them: whole steps, each weight once for every byte of a pixel.
AxisTaps for_horizontal_rows(const AxisTaps& taps, std::size_t step) {
  AxisTaps spread;
  const std::size_t given = static_cast<std::size_t>(taps.stride);
  const std::size_t stride = (given + step - 1) / step * step * 4;
  spread.first = taps.first;
  spread.count.resize(taps.count.size());
  spread.stride = static_cast<std::int64_t>(stride);
  spread.weights.resize(taps.first.size() * stride);
  for (std::size_t index = 0; index < taps.first.size(); ++index) {
    const auto count = static_cast<std::size_t>(taps.count[index]);
    spread.count[index] = static_cast<std::int32_t>((count + step - 1) / step);
    for (std::size_t tap = 0; tap < count; ++tap) {
      std::fill_n(&spread.weights[index * stride + 4 * tap], 4, taps.weights[index * given + tap]);
    }
  }
  return spread;
}

Status sum_columns_cpu(Context& context, const PictureSheet& sheet, const AxisTaps& taps,
                       std::int64_t first_row, TensorView out) {
  const std::size_t step = HWY_DYNAMIC_DISPATCH(HorizontalStep)();
  const AxisTaps spread = for_horizontal_rows(taps, step);
  // Every row is laid out once more with its margins, four bytes a pixel, and with room behind it,
  // because the last step of a sum reads on past the row (with weights of zero).
  const std::int64_t rows = out.rows();
  const std::int64_t pieces = std::clamp<std::int64_t>(rows / 8, 1, context.threads);
  const std::int64_t room = 4 * (sheet.width + static_cast<std::int64_t>(step));
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView row_buffers, context.workspace.take({pieces, room}, DType::u8));

  parallel_for(context.threads, pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      auto* buffer = row_buffers.row<std::uint8_t>(piece);
      std::fill_n(buffer, room, std::uint8_t{0});
      for (std::int64_t x = 0; x < sheet.width; ++x)
        std::copy_n(sheet.color.data(), 3, buffer + 4 * x);
      const std::int64_t last = rows * (piece + 1) / pieces;
      for (std::int64_t index = rows * piece / pieces; index < last; ++index) {
        auto* to = out.row<std::uint8_t>(index);
        const std::int64_t y = first_row + index - sheet.top;
        if (y < 0 || y >= sheet.picture.rows()) {
          for (std::int64_t x = 0; x < out.shape[1]; x += 3)
            std::copy_n(sheet.color.data(), 3, to + x);
          continue;
        }
        HWY_DYNAMIC_DISPATCH(WidenRow)
        (sheet.picture.row<std::uint8_t>(y), static_cast<std::size_t>(sheet.picture.shape[1] / 3),
         buffer + 4 * sheet.left);
        HWY_DYNAMIC_DISPATCH(HorizontalRow)
        (buffer, spread.first.data(), spread.count.data(), spread.weights.data(),
         static_cast<std::size_t>(spread.stride), spread.first.size(), to);
      }
    }
  });
  return {};
}

void sum_rows_cpu(Context& context, ConstTensorView from, const AxisTaps& taps,
                  std::int64_t first_row, TensorView out) {
  parallel_for(context.threads, out.rows(), 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t y = begin; y < end; ++y) {
      const auto index = static_cast<std::size_t>(y);
      HWY_DYNAMIC_DISPATCH(VerticalRow)
      (from.row<std::uint8_t>(taps.first[index] - first_row),
       static_cast<std::size_t>(from.row_stride),
       &taps.weights[index * static_cast<std::size_t>(taps.stride)],
       static_cast<std::size_t>(taps.count[index]), static_cast<std::size_t>(out.shape[1]),
       out.row<std::uint8_t>(y));
    }
  });
}

void spread_channels_cpu(Context& context, ConstTensorView picture, std::int64_t left,
                         std::int64_t top, const LevelTable& table, TensorView planes) {
  const auto channels = static_cast<std::size_t>(planes.shape[0]);
  const std::int64_t height = planes.shape[1], width = planes.shape[2];
  const std::int64_t shown = picture.shape[1] / 3;
  parallel_for(context.threads, height, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t y = begin; y < end; ++y) {
      const bool inside = y >= top && y < top + picture.rows();
      std::array<float*, 3> rows{};
      for (std::size_t channel = 0; channel < channels; ++channel) {
        rows[channel] =
            planes.as<float>() + (static_cast<std::int64_t>(channel) * height + y) * width;
        const float black = table[channel][0];
        std::fill(rows[channel], rows[channel] + (inside ? left : width), black);
        if (inside) std::fill(rows[channel] + left + shown, rows[channel] + width, black);
        rows[channel] += left;
      }
      if (!inside) continue;
      const std::uint8_t* pixel = picture.row<std::uint8_t>(y - top);
      if (channels == 3) {
        for (std::int64_t x = 0; x < shown; ++x, pixel += 3) {
          rows[0][x] = table[0][pixel[0]];
          rows[1][x] = table[1][pixel[1]];
          rows[2][x] = table[2][pixel[2]];
        }
        continue;
      }
      for (std::int64_t x = 0; x < shown; ++x) {
        for (std::size_t channel = 0; channel < channels; ++channel)
          rows[channel][x] = table[channel][pixel[3 * x + static_cast<std::int64_t>(channel)]];
      }
    }
  });
}

}  // namespace

// ---- Operations --------------------------------------------------------------------------------

Status sum_columns(Context& context, const PictureSheet& sheet, const AxisTaps& taps,
                   std::int64_t first_row, TensorView out) {
  FOVEA_CHECK(check_bytes(context, "sum_columns picture", sheet.picture, true));
  FOVEA_CHECK(check_bytes(context, "sum_columns out", out, false));
  const std::int64_t pixels = sheet.picture.shape[1] / 3;
  if (pixels < 1 || sheet.picture.rows() < 1 || sheet.picture.shape[1] % 3 != 0 || sheet.left < 0 ||
      sheet.top < 0 || sheet.left + pixels > sheet.width || out.shape[1] % 3 != 0) {
    return usage("sum_columns picture", "a picture of bytes " + sheet.picture.shape.to_string() +
                                            " does not lie on its sheet");
  }
  FOVEA_CHECK(check_taps("sum_columns taps", taps, 0, sheet.width, out.shape[1] / 3));
  if (out.shape.elements() == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return sum_columns_cuda(context, sheet, taps, first_row, out);
#endif
  return sum_columns_cpu(context, sheet, taps, first_row, out);
}

Status sum_rows(Context& context, ConstTensorView from, const AxisTaps& taps,
                std::int64_t first_row, TensorView out) {
  FOVEA_CHECK(check_bytes(context, "sum_rows from", from, false));
  FOVEA_CHECK(check_bytes(context, "sum_rows out", out, false));
  if (from.shape[1] != out.shape[1]) {
    return usage("sum_rows out", "rows of " + std::to_string(from.shape[1]) +
                                     " bytes cannot become rows of " +
                                     std::to_string(out.shape[1]));
  }
  FOVEA_CHECK(check_taps("sum_rows taps", taps, first_row, first_row + from.rows(), out.rows()));
  if (out.shape.elements() == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return sum_rows_cuda(context, from, taps, first_row, out);
#endif
  sum_rows_cpu(context, from, taps, first_row, out);
  return {};
}

Status spread_channels(Context& context, ConstTensorView picture, std::int64_t left,
                       std::int64_t top, const LevelTable& table, TensorView planes) {
  FOVEA_CHECK(check_bytes(context, "spread_channels picture", picture, false));
  FOVEA_CHECK(check_f32_rank(context, "spread_channels planes", planes, 3));
  const Shape& field = planes.shape;
  if (picture.shape[1] % 3 != 0 || field[0] > 3 || !planes.contiguous() || left < 0 || top < 0 ||
      left + picture.shape[1] / 3 > field[2] || top + picture.rows() > field[1]) {
    return usage("spread_channels planes", "a picture of bytes " + picture.shape.to_string() +
                                               " does not lie in the field " + field.to_string());
  }
  if (field.elements() == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return spread_channels_cuda(context, picture, left, top, table, planes);
#endif
  spread_channels_cpu(context, picture, left, top, table, planes);
  return {};
}

}  // namespace fovea
#endif  // HWY_ONCE
