#pragma once
// Inputs, outputs and comparisons for tests of operations: seeded random numbers, float32 blocks
// between guard bands, and errors against a reference in double.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/context.h"
#include "kernels/tensor.h"

namespace fovea::testing {

/// Numbers that differ from test to test but not from run to run; FOVEA_TEST_SEED=n (an
/// environment variable) draws others.
class Random {
 public:
  explicit Random(std::uint64_t stream = 0) : engine_(base_seed() * 0x9E3779B97F4A7C15u + stream) {}

  float uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(engine_() >> 40) * 0x1p-24f;
  }
  std::int64_t integer(std::int64_t low, std::int64_t high) {  // both ends included
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  float normal() { return normal_(engine_); }
  std::vector<float> normals(std::int64_t count, float deviation = 1.0f) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = deviation * normal();
    return values;
  }

 private:
  static std::uint64_t base_seed() {
    const char* text = std::getenv("FOVEA_TEST_SEED");
    return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
  }

  std::mt19937_64 engine_;
  std::normal_distribution<float> normal_;
};

/// A float32 block whose rows lie `row_padding` elements apart, with a guard band before, after and
/// between the rows. Rows start as NaN, so that an element nobody wrote is seen.
class GuardedTensor {
 public:
  static constexpr std::int64_t kBand = 64;

  explicit GuardedTensor(Shape shape, std::int64_t row_padding = 0) : shape_(shape) {
    const TensorView plain(nullptr, DType::f32, shape);
    inner_ = plain.inner_elements();
    stride_ = inner_ + row_padding;
    rows_ = plain.rows();
    memory_.assign(static_cast<std::size_t>(2 * kBand + rows_ * stride_), kGuard);
    for (std::int64_t row = 0; row < rows_; ++row) {
      for (std::int64_t i = 0; i < inner_; ++i) {
        row_data(row)[i] = std::numeric_limits<float>::quiet_NaN();
      }
    }
  }
  GuardedTensor(Shape shape, const std::vector<float>& values, std::int64_t row_padding = 0)
      : GuardedTensor(shape, row_padding) {
    for (std::int64_t row = 0; row < rows_; ++row) {
      for (std::int64_t i = 0; i < inner_; ++i) {
        row_data(row)[i] = values[static_cast<std::size_t>(row * inner_ + i)];
      }
    }
  }

  TensorView view() {
    TensorView result(reinterpret_cast<std::byte*>(memory_.data() + kBand), DType::f32, shape_);
    result.row_stride = stride_;
    return result;
  }
  /// The elements without padding.
  std::vector<float> values() const {
    std::vector<float> result;
    for (std::int64_t row = 0; row < rows_; ++row) {
      const float* begin = memory_.data() + kBand + row * stride_;
      result.insert(result.end(), begin, begin + inner_);
    }
    return result;
  }
  /// Everything, guard bands included.
  std::span<float> memory() { return memory_; }
  ::testing::AssertionResult guards_intact() const {
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(memory_.size()); ++i) {
      const std::int64_t place = i - kBand;
      const bool inside = place >= 0 && place < rows_ * stride_ && place % stride_ < inner_;
      if (!inside && memory_[static_cast<std::size_t>(i)] != kGuard) {
        return ::testing::AssertionFailure() << "guard overwritten at element " << place;
      }
    }
    return ::testing::AssertionSuccess();
  }

 private:
  static constexpr float kGuard = -12345.678f;

  float* row_data(std::int64_t row) { return memory_.data() + kBand + row * stride_; }

  Shape shape_;
  std::int64_t inner_ = 0, stride_ = 0, rows_ = 0;
  std::vector<float> memory_;
};

/// Passes when |actual - expected| <= tolerance * max(1, |expected|) everywhere; equal infinities
/// agree, NaN agrees with nothing.
inline ::testing::AssertionResult close_to(std::span<const float> actual,
                                           std::span<const double> expected, double tolerance) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure()
           << actual.size() << " values, expected " << expected.size();
  }
  double worst = 0.0;
  std::size_t place = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double found = actual[i];
    if (found == expected[i]) continue;
    double error = std::abs(found - expected[i]) / std::max(1.0, std::abs(expected[i]));
    if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
    if (error > worst) {
      worst = error;
      place = i;
    }
  }
  if (worst <= tolerance) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "error " << worst << " above " << tolerance << " at element " << place << ": found "
         << actual[place] << ", expected " << expected[place];
}

/// Bit for bit, so that NaN and signed zero count too.
inline ::testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) {
      return ::testing::AssertionFailure()
             << "element " << i << ": " << a[i] << " and " << b[i] << " differ";
    }
  }
  return ::testing::AssertionSuccess();
}

/// A context of the CPU with this many threads.
inline Context cpu_context(int threads) {
  Context context;
  context.threads = threads;
  return context;
}

}  // namespace fovea::testing
