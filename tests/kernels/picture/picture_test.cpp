#include "kernels/ops/picture/picture.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/twins.h"

namespace fovea::testing {
namespace {

constexpr std::int32_t kOne = 1 << kTapBits;

class PictureTest : public DeviceTest<DeviceCase> {};

using Bytes = std::vector<std::uint8_t>;

Bytes some_levels(std::size_t count, unsigned seed) {
  Bytes bytes(count);
  for (std::uint8_t& level : bytes) {
    seed = seed * 1664525 + 1013904223;
    level = static_cast<std::uint8_t>(seed >> 24);
  }
  return bytes;
}

ConstTensorView view_of(const Bytes& bytes, std::int64_t rows) {
  return {reinterpret_cast<const std::byte*>(bytes.data()),
          DType::u8,
          {rows, static_cast<std::int64_t>(bytes.size()) / rows}};
}

/// Room for bytes where a context computes.
struct Room {
  Room(Context& where, Shape shape) : context(where) {
    auto made = Tensor::allocate(shape, DType::u8, context.device);
    EXPECT_TRUE(made);
    if (made) block = std::move(*made);
  }
  Bytes fetch() {
    Bytes bytes(block.bytes());
    const Status status =
        copy(context, block.view(),
             TensorView(reinterpret_cast<std::byte*>(bytes.data()), DType::u8, block.shape()));
    EXPECT_TRUE(status);
    return bytes;
  }
  Context& context;
  Tensor block;
};

/// Taps of windows that slide over the source, with weights of both signs.
AxisTaps sliding(std::int64_t source, std::int64_t results, std::int64_t most) {
  AxisTaps taps;
  taps.stride = most;
  for (std::int64_t i = 0; i < results; ++i) {
    const std::int64_t first = i * (source - 1) / results;
    const std::int64_t count = std::min(source - first, 1 + i % most);
    taps.first.push_back(static_cast<std::int32_t>(first));
    taps.count.push_back(static_cast<std::int32_t>(count));
    std::int32_t left = kOne;
    for (std::int64_t tap = 0; tap < most; ++tap) {
      const auto share = static_cast<std::int32_t>(tap % 2 == 0 ? kOne / 3 + i * 1001 : -kOne / 7);
      const std::int32_t weight = tap + 1 < count ? share : tap + 1 == count ? left : 0;
      taps.weights.push_back(weight);
      left -= weight;
    }
  }
  return taps;
}

std::uint8_t level(std::int64_t sum) {
  return static_cast<std::uint8_t>(std::clamp<std::int64_t>((sum + kOne / 2) >> kTapBits, 0, 255));
}

TEST_P(PictureTest, columns_are_weighted_sums_of_the_sheet_s_pixels) {
  Context context = test_context(GetParam().device, 2);
  constexpr std::int64_t kWidth = 41, kHeight = 9, kLeft = 7, kTop = 2, kSheet = 60;
  for (const std::int64_t most : {1, 2, 3, 7, 19}) {
    const Bytes picture = some_levels(kWidth * kHeight * 3, 1);
    PictureSheet sheet;
    sheet.picture = view_of(picture, kHeight);
    sheet.left = kLeft;
    sheet.top = kTop;
    sheet.width = kSheet;
    sheet.color = {200, 0, 255};
    const AxisTaps taps = sliding(kSheet, 23, most);
    constexpr std::int64_t kRows = 12, kFirst = 1;  // rows of the sheet, above and below too
    Bytes expected;
    for (std::int64_t y = kFirst; y < kFirst + kRows; ++y) {
      for (std::size_t i = 0; i < 23; ++i) {
        for (std::int64_t channel = 0; channel < 3; ++channel) {
          const std::uint8_t color = sheet.color[static_cast<std::size_t>(channel)];
          std::int64_t sum = 0;
          for (std::int64_t tap = 0; tap < taps.count[i]; ++tap) {
            const std::int64_t x = taps.first[i] + tap - kLeft, row = y - kTop;
            const bool inside = x >= 0 && x < kWidth && row >= 0 && row < kHeight;
            const std::int64_t value =
                inside ? picture[static_cast<std::size_t>((row * kWidth + x) * 3 + channel)]
                       : color;
            sum += value *
                   taps.weights[i * static_cast<std::size_t>(most) + static_cast<std::size_t>(tap)];
          }
          expected.push_back(level(sum));
        }
      }
    }
    Room out(context, {kRows, 3 * 23});
    ASSERT_TRUE(sum_columns(context, sheet, taps, kFirst, out.block.view()));
    EXPECT_EQ(out.fetch(), expected) << most << " taps";
  }
}

TEST_P(PictureTest, rows_are_weighted_sums_of_rows) {
  Context context = test_context(GetParam().device, 2);
  constexpr std::int64_t kBytes = 77, kRows = 31, kFirst = 5;
  const Bytes picture = some_levels(kBytes * kRows, 2);
  AxisTaps taps = sliding(kRows, 14, 8);
  Bytes expected;
  for (std::size_t i = 0; i < 14; ++i) {
    for (std::int64_t x = 0; x < kBytes; ++x) {
      std::int64_t sum = 0;
      for (std::int64_t tap = 0; tap < taps.count[i]; ++tap) {
        sum += std::int64_t{picture[static_cast<std::size_t>((taps.first[i] + tap) * kBytes + x)]} *
               taps.weights[i * 8 + static_cast<std::size_t>(tap)];
      }
      expected.push_back(level(sum));
    }
  }
  for (std::int32_t& first : taps.first) first += kFirst;  // as rows of a larger picture
  Room from(context, {kRows, kBytes}), out(context, {14, kBytes});
  ASSERT_TRUE(copy(context, view_of(picture, kRows), from.block.view()));
  ASSERT_TRUE(sum_rows(context, from.block.view(), taps, kFirst, out.block.view()));
  EXPECT_EQ(out.fetch(), expected);
}

TEST_P(PictureTest, levels_become_numbers_and_black_surrounds_the_picture) {
  Context context = test_context(GetParam().device, 2);
  LevelTable table{};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t value = 0; value < 256; ++value)
      table[channel][value] = static_cast<float>(1000 * channel + value) + 0.5f;
  }
  constexpr std::int64_t kWidth = 5, kHeight = 3, kLeft = 2, kTop = 1;
  const Bytes picture = some_levels(kWidth * kHeight * 3, 3);
  Room from(context, {kHeight, 3 * kWidth});
  ASSERT_TRUE(copy(context, view_of(picture, kHeight), from.block.view()));
  for (const std::int64_t channels : {1, 3}) {
    GuardedTensor field({channels, 6, 9},
                        std::vector<float>(static_cast<std::size_t>(channels * 54)));
    Placed placed(context, field);
    ASSERT_TRUE(spread_channels(context, from.block.view(), kLeft, kTop, table, placed.view()));
    placed.fetch();
    std::vector<float> expected;
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t y = -kTop; y < 6 - kTop; ++y) {
        for (std::int64_t x = -kLeft; x < 9 - kLeft; ++x) {
          const bool inside = x >= 0 && x < kWidth && y >= 0 && y < kHeight;
          const std::size_t value =
              inside ? picture[static_cast<std::size_t>((y * kWidth + x) * 3 + channel)] : 0;
          expected.push_back(table[static_cast<std::size_t>(channel)][value]);
        }
      }
    }
    EXPECT_EQ(field.values(), expected);
    EXPECT_TRUE(field.guards_intact());
  }
}

TEST_P(PictureTest, what_lies_outside_the_source_is_refused) {
  Context context = test_context(GetParam().device, 2);
  const Bytes picture = some_levels(4 * 4 * 3, 4);
  PictureSheet sheet;
  sheet.picture = view_of(picture, 4);
  sheet.width = 4;
  AxisTaps taps = sliding(4, 2, 2);
  Room out(context, {4, 6}), narrow(context, {4, 3});
  EXPECT_TRUE(sum_columns(context, sheet, taps, 0, out.block.view()));
  EXPECT_FALSE(sum_columns(context, sheet, taps, 0, narrow.block.view()));
  sheet.left = 1;
  EXPECT_FALSE(sum_columns(context, sheet, taps, 0, out.block.view()));
  sheet.left = 0;
  taps.first[1] = 4;
  EXPECT_FALSE(sum_columns(context, sheet, taps, 0, out.block.view()));
  taps.first[1] = -1;
  EXPECT_FALSE(sum_rows(context, out.block.view(), taps, 0, out.block.view()));
  const LevelTable table{};
  GuardedTensor field({3, 4, 1}, std::vector<float>(12));
  Placed placed(context, field);
  EXPECT_FALSE(spread_channels(context, out.block.view(), 0, 0, table, placed.view()));
}

INSTANTIATE_TEST_SUITE_P(Devices, PictureTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
