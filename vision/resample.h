#pragma once
// Pillow's antialiased resampling of 8-bit RGB, bit by bit, for the part of the result that is
// asked for.
//
// Each result pixel is a weighted sum over the source pixels within the filter's support, which
// grows with the scale when a picture shrinks. Pillow computes the weights in double, rounds them
// to integers of 22 fractional bits, and rounds to 8 bits after the horizontal and again after the
// vertical pass; so does this.

#include "kernels/context.h"
#include "vision/preprocess.h"

namespace fovea {

/// Part of a picture, in its pixels; inside it.
struct PixelWindow {
  int left = 0, top = 0, width = 0, height = 0;
};

/// The window of what Pillow's Image.resize((width, height), resample) gives. Preconditions: a
/// non-empty image, 1 <= width and height, the window lies inside the result and is not empty.
/// Errors: out_of_memory.
Result<Image> resample_window(Context& context, const Image& image, int width, int height,
                              Resample resample, const PixelWindow& window);

}  // namespace fovea
