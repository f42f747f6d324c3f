#pragma once
// Pictures by formula, the same as in tests/golden/make_preprocess_golden.py: noise, ramps and hard
// edges side by side, so that filters round and clip in every way.

#include <cstdint>

#include "vision/image.h"

namespace fovea::testing {

inline Image pattern(int width, int height, std::uint32_t seed) {
  Image image = Image::filled(width, height, 0, 0, 0);
  for (int row = 0; row < height; ++row) {
    for (int column = 0; column < width; ++column) {
      const auto x = static_cast<std::uint32_t>(column), y = static_cast<std::uint32_t>(row);
      for (std::uint32_t c = 0; c < 3; ++c) {
        std::uint32_t noise =
            (x * 73856093u) ^ (y * 19349663u) ^ (c * 83492791u) ^ (seed * 2654435761u);
        noise ^= noise >> 13;
        noise *= 0x5BD1E995u;
        noise ^= noise >> 15;
        const std::uint32_t ramp = x * 3 + y * 5 + c * 40;
        const std::uint32_t edges = ((x / 16 + y / 16) & 1) * 255;
        const std::uint32_t kind = (x / 32 + y / 24) % 3;
        image.pixel(column, row)[c] = static_cast<std::uint8_t>(kind == 0   ? noise
                                                                : kind == 1 ? ramp
                                                                            : edges);
      }
    }
  }
  return image;
}

}  // namespace fovea::testing
