#include "vision/vit_positions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

namespace fovea {

namespace {

constexpr int kTaps = 4;

/// One place on a line of `from` points: the four points around it and their shares.
struct Taps {
  std::array<std::int64_t, kTaps> at;
  std::array<float, kTaps> weight;
};

/// Keys' cubic convolution with PyTorch's a = -0.75.
float cubic(double distance) {
  constexpr double a = -0.75;
  const double x = std::abs(distance);
  if (x <= 1.0) return static_cast<float>(((a + 2.0) * x - (a + 3.0)) * x * x + 1.0);
  return static_cast<float>(((x - 5.0) * x + 8.0) * x * a - 4.0 * a);
}

std::vector<Taps> line_taps(std::int64_t from, std::int64_t to) {
  std::vector<Taps> taps(static_cast<std::size_t>(to));
  for (std::int64_t i = 0; i < to; ++i) {
    const double place =
        (static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
    const auto first = static_cast<std::int64_t>(std::floor(place)) - 1;
    for (std::size_t tap = 0; tap < kTaps; ++tap) {
      const std::int64_t point = first + static_cast<std::int64_t>(tap);
      taps[static_cast<std::size_t>(i)].at[tap] = std::clamp<std::int64_t>(point, 0, from - 1);
      taps[static_cast<std::size_t>(i)].weight[tap] = cubic(place - static_cast<double>(point));
    }
  }
  return taps;
}

}  // namespace

Result<Tensor> resample_positions(ConstTensorView table, std::int64_t prefix, std::int64_t from,
                                  std::int64_t to) {
  if (table.shape.rank() != 2 || table.dtype != DType::f32 || prefix < 0 || from < 1 || to < 1 ||
      table.shape[0] != prefix + from * from) {
    return make_error(ErrorCode::usage, "positions of a grid of side " + std::to_string(from) +
                                            " cannot be " + table.shape.to_string());
  }
  const std::int64_t hidden = table.shape[1];
  FOVEA_TRY(Tensor moved, Tensor::allocate({prefix + to * to, hidden}, DType::f32));
  const TensorView out = moved.view();
  const std::int64_t copied = from == to ? table.shape[0] : prefix;
  for (std::int64_t row = 0; row < copied; ++row) {
    std::copy_n(table.row<float>(row), hidden, out.row<float>(row));
  }
  if (from == to) return moved;

  const std::vector<Taps> taps = line_taps(from, to);
  for (std::int64_t cell = 0; cell < to * to; ++cell) {
    const Taps& down = taps[static_cast<std::size_t>(cell / to)];
    const Taps& across = taps[static_cast<std::size_t>(cell % to)];
    float* sum = out.row<float>(prefix + cell);
    std::fill_n(sum, hidden, 0.0F);
    for (std::size_t y = 0; y < kTaps; ++y) {
      for (std::size_t x = 0; x < kTaps; ++x) {
        const float weight = down.weight[y] * across.weight[x];
        const auto* row = table.row<float>(prefix + down.at[y] * from + across.at[x]);
        for (std::int64_t channel = 0; channel < hidden; ++channel) {
          sum[channel] += weight * row[channel];
        }
      }
    }
  }
  return moved;
}

}  // namespace fovea
