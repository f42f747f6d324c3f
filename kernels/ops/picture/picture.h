#pragma once
// Pictures of 8-bit RGB: weighted sums along an axis, rounded to 8 bits, and numbers made of their
// levels. The same bits on every device.

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/context.h"

namespace fovea {

/// A weight of 1 in units of the integers that weights are.
inline constexpr int kTapBits = 32 - 8 - 2;

/// Which source pixels make each result pixel of an axis: those from first[i] to first[i] +
/// count[i], with the weights that begin at i * stride. A result is their sum plus one half, cut to
/// whole levels and to 0 .. 255; the sums must fit 32 bits.
struct AxisTaps {
  std::vector<std::int32_t> first;    // [results]
  std::vector<std::int32_t> count;    // [results], at least 1
  std::vector<std::int32_t> weights;  // [results, stride], zero beyond count
  std::int64_t stride = 0;
};

/// A picture lying on a larger sheet of one colour, which is never stored.
struct PictureSheet {
  ConstTensorView picture;         // u8 [height, 3 * width], on the host or where the context
                                   // computes; not empty
  std::int64_t left = 0, top = 0;  // of the picture on the sheet, at least 0
  std::int64_t width = 0;          // of the sheet: the picture lies inside
  std::array<std::uint8_t, 3> color{};
};

/// out = rows [first_row, first_row + out.rows()) of the sheet, each pixel summed from its row by
/// `taps`, whose weights sum to 1 within 2^-9 (so that rows of one colour stay as they are). out:
/// u8 [rows, 3 * results], where the context computes. Errors: usage, out_of_memory.
Status sum_columns(Context& context, const PictureSheet& sheet, const AxisTaps& taps,
                   std::int64_t first_row, TensorView out);

/// out[i] = the rows of `from` that taps name for i, less `first_row`, summed. from: u8 [rows,
/// bytes], out: u8 [results, bytes], both where the context computes. Errors: usage.
Status sum_rows(Context& context, ConstTensorView from, const AxisTaps& taps,
                std::int64_t first_row, TensorView out);

/// By channel and level.
using LevelTable = std::array<std::array<float, 256>, 3>;

/// planes[c, top + y, left + x] = table[c][level of channel c at (x, y)], and table[c][0] around
/// the picture. picture: u8 [height, 3 * width], inside the field; planes: f32 [channels, field
/// height, field width], channels at most 3; both where the context computes. Errors: usage.
Status spread_channels(Context& context, ConstTensorView picture, std::int64_t left,
                       std::int64_t top, const LevelTable& table, TensorView planes);

}  // namespace fovea
