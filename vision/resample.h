#pragma once
// Pillow's antialiased resampling of 8-bit RGB, bit by bit, for the part of the result that is
// asked for.
//
// Each result pixel is a weighted sum over the source pixels within the filter's support, which
// grows with the scale when a picture shrinks. Pillow computes the weights in double, rounds them
// to integers of 22 fractional bits, and rounds to 8 bits after the horizontal and again after the
// vertical pass; so does this.

#include <array>
#include <cstdint>

#include "kernels/context.h"
#include "vision/preprocess.h"

namespace fovea {

/// A picture lying on a larger sheet of one colour, which is never stored. Without a margin the
/// sheet is the picture itself.
struct Sheet {
  const Image& picture;
  int left = 0, top = 0;      // of the picture on the sheet
  int width = 0, height = 0;  // of the sheet
  std::array<std::uint8_t, 3> color{};
};

/// Part of the result, in its pixels; inside it.
struct PixelWindow {
  int left = 0, top = 0, width = 0, height = 0;
};

/// The window of what Pillow's Image.resize((width, height), resample) makes of the sheet. out: u8
/// [window height, 3 * window width], where the context computes. Preconditions: a picture that is
/// not empty and lies on the sheet, sheet sides of at most kMaxImageSide, 1 <= width and height, a
/// window that is not empty and lies inside the result. Errors: out_of_memory, device.
Status resample_window(Context& context, const Sheet& sheet, int width, int height,
                       Resample resample, const PixelWindow& window, TensorView out);

}  // namespace fovea
