#include "kernels/tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "kernels/device.h"
#include "support/tensors.h"

namespace fovea {
namespace {

std::uint32_t bits_of(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

/// Value of a finite f16 by the definition of the format.
double f16_by_definition(std::uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const int mantissa = static_cast<int>(bits & 1023);
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

/// Nearest f16 by bisection over all of them; ties go to the even mantissa.
std::uint16_t nearest_f16(float value) {
  const std::uint32_t sign = bits_of(value) >> 16 & 0x8000;
  const double magnitude = std::fabs(static_cast<double>(value));
  std::uint32_t low = 0;        // largest f16 not above magnitude
  std::uint32_t high = 0x7c00;  // counts as 65536: where the next one would be
  const auto position = [](std::uint32_t bits) {
    return bits == 0x7c00 ? 65536.0 : f16_by_definition(bits);
  };
  if (magnitude >= 65536.0) return static_cast<std::uint16_t>(sign | 0x7c00);
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (position(middle) <= magnitude ? low : high) = middle;
  }
  const double below = magnitude - position(low);
  const double above = position(high) - magnitude;
  const bool up = above < below || (above == below && (low & 1) != 0);
  return static_cast<std::uint16_t>(sign | (up ? high : low));
}

TEST(f16_format, every_value_widens_exactly_and_returns_unchanged) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const f16 half{static_cast<std::uint16_t>(bits)};
    const float value = to_float(half);
    if ((bits & 0x7c00) == 0x7c00) {
      if ((bits & 0x3ff) == 0) {
        EXPECT_EQ(value, (bits & 0x8000) != 0 ? -INFINITY : INFINITY);
        EXPECT_EQ(to_f16(value).bits, bits);
      } else {
        EXPECT_TRUE(std::isnan(value)) << bits;
        EXPECT_TRUE(std::isnan(to_float(to_f16(value)))) << bits;
      }
      continue;
    }
    ASSERT_EQ(value, static_cast<float>(f16_by_definition(bits))) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
    ASSERT_EQ(to_f16(value).bits, bits) << bits;
  }
}

TEST(f16_format, ties_round_to_even_and_their_neighbours_to_the_nearer) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const double next = bits == 0x7bff ? 65536.0 : f16_by_definition(bits + 1);
    const auto tie = static_cast<float>((f16_by_definition(bits) + next) / 2);
    for (const float value :
         {tie, std::nextafterf(tie, 0.0f), std::nextafterf(tie, INFINITY), -tie}) {
      ASSERT_EQ(to_f16(value).bits, nearest_f16(value)) << value;
    }
    const std::uint16_t even = static_cast<std::uint16_t>(bits + (bits & 1));
    ASSERT_EQ(to_f16(tie).bits, even) << tie;
  }
}

TEST(f16_format, arbitrary_floats_round_to_the_nearest) {
  testing::Random random;
  for (int i = 0; i < 200'000; ++i) {
    const float value =
        std::bit_cast<float>(static_cast<std::uint32_t>(random.integer(0, 0xffffffff)));
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(to_float(to_f16(value))));
    } else {
      ASSERT_EQ(to_f16(value).bits, nearest_f16(value)) << value;
    }
  }
  EXPECT_EQ(to_f16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_f16(std::numeric_limits<float>::denorm_min()).bits, 0);
  EXPECT_EQ(to_f16(-std::numeric_limits<float>::denorm_min()).bits, 0x8000);
}

TEST(bf16_format, every_value_widens_exactly_and_returns_unchanged) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = to_float(bf16{static_cast<std::uint16_t>(bits)});
    ASSERT_EQ(bits_of(value), bits << 16);
    const std::uint32_t back = to_bf16(value).bits;
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(to_float(bf16{static_cast<std::uint16_t>(back)}))) << bits;
    } else {
      ASSERT_EQ(back, bits);
    }
  }
}

TEST(bf16_format, ties_round_to_even_and_their_neighbours_to_the_nearer) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    if ((bits & 0x7f80) == 0x7f80) continue;  // infinities and NaN lie between no two values
    const std::uint32_t tie = bits << 16 | 0x8000;
    ASSERT_EQ(to_bf16(std::bit_cast<float>(tie)).bits, bits + (bits & 1));
    ASSERT_EQ(to_bf16(std::bit_cast<float>(tie - 1)).bits, bits);
    ASSERT_EQ(to_bf16(std::bit_cast<float>(tie + 1)).bits, bits + 1);
  }
}

TEST(bf16_format, nan_stays_nan_whatever_its_payload) {
  for (const std::uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xff80ffffu, 0xffffffffu}) {
    EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(bits))))) << bits;
    EXPECT_TRUE(std::isnan(to_float(to_f16(std::bit_cast<float>(bits))))) << bits;
  }
}

float read_element(ConstTensorView view, std::int64_t row, std::int64_t column) {
  switch (view.dtype) {
    case DType::f16:
      return to_float(view.row<f16>(row)[column]);
    case DType::bf16:
      return to_float(view.row<bf16>(row)[column]);
    default:
      return view.row<float>(row)[column];
  }
}

void write_element(TensorView view, std::int64_t row, std::int64_t column, float value) {
  switch (view.dtype) {
    case DType::f16:
      view.row<f16>(row)[column] = to_f16(value);
      break;
    case DType::bf16:
      view.row<bf16>(row)[column] = to_bf16(value);
      break;
    default:
      view.row<float>(row)[column] = value;
  }
}

float rounded_to(DType dtype, float value) {
  if (dtype == DType::f16) return to_float(to_f16(value));
  if (dtype == DType::bf16) return to_float(to_bf16(value));
  return value;
}

struct Pair {
  DType from;
  DType to;
};

void PrintTo(const Pair& pair, std::ostream* out) {
  *out << dtype_name(pair.from) << " to " << dtype_name(pair.to);
}

class Convert : public ::testing::TestWithParam<Pair> {};

TEST_P(Convert, strided_rows_convert_and_what_lies_between_stays) {
  constexpr std::int64_t kRows = 5;
  constexpr std::int64_t kColumns = 37;
  constexpr std::int64_t kFromStride = 40;
  constexpr std::int64_t kToStride = 51;
  testing::Random random;
  Tensor source = *Tensor::allocate({kRows, kFromStride}, GetParam().from);
  Tensor target = *Tensor::allocate({kRows, kToStride}, GetParam().to);
  TensorView from = source.view();
  TensorView to = target.view();
  for (std::int64_t row = 0; row < kRows; ++row) {
    for (std::int64_t i = 0; i < kFromStride; ++i) {
      write_element(from, row, i, random.uniform(-70000, 70000));
    }
    for (std::int64_t i = 0; i < kToStride; ++i) write_element(to, row, i, -1.0f);
  }
  from.shape = to.shape = {kRows, kColumns};
  ASSERT_TRUE(convert(from, to));
  for (std::int64_t row = 0; row < kRows; ++row) {
    for (std::int64_t i = 0; i < kColumns; ++i) {
      ASSERT_EQ(read_element(to, row, i), rounded_to(GetParam().to, read_element(from, row, i)));
    }
    for (std::int64_t i = kColumns; i < kToStride; ++i) ASSERT_EQ(read_element(to, row, i), -1.0f);
  }
}

TEST_P(Convert, long_contiguous_blocks_convert_like_single_elements) {
  constexpr std::int64_t kCount = 70001;
  testing::Random random;
  Tensor source = *Tensor::allocate({kCount}, GetParam().from);
  Tensor target = *Tensor::allocate({kCount}, GetParam().to);
  for (std::int64_t i = 0; i < kCount; ++i) {
    // Magnitudes from far below the smallest f16 to far above the largest.
    const float value = std::ldexp(random.normal(), static_cast<int>(random.integer(-40, 25)));
    write_element(source.view(), i, 0, value);
  }
  ASSERT_TRUE(convert(source.view(), target.view()));
  for (std::int64_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(read_element(target.view(), i, 0),
              rounded_to(GetParam().to, read_element(source.view(), i, 0)));
  }
}

std::vector<Pair> all_pairs() {
  std::vector<Pair> pairs;
  for (const DType from : {DType::f32, DType::f16, DType::bf16}) {
    for (const DType to : {DType::f32, DType::f16, DType::bf16}) pairs.push_back({from, to});
  }
  return pairs;
}

INSTANTIATE_TEST_SUITE_P(AllPairs, Convert, ::testing::ValuesIn(all_pairs()), [](const auto& test) {
  return std::string(dtype_name(test.param.from)) + "_to_" + dtype_name(test.param.to);
});

TEST(convert, refuses_what_it_cannot_convert) {
  Tensor floats = *Tensor::allocate({2, 3}, DType::f32);
  Tensor others = *Tensor::allocate({3, 2}, DType::f16);
  Tensor integers = *Tensor::allocate({2, 3}, DType::i32);
  EXPECT_FALSE(convert(floats.view(), others.view()));
  EXPECT_FALSE(convert(floats.view(), integers.view()));
  EXPECT_FALSE(convert(integers.view(), integers.view()));
  TensorView elsewhere = floats.view();
  elsewhere.device = {DeviceKind::cuda, 0};
  EXPECT_FALSE(convert(floats.view(), elsewhere));
}

TEST(convert, accepts_blocks_without_elements) {
  Tensor from = *Tensor::allocate({0, 3}, DType::f32);
  Tensor to = *Tensor::allocate({0, 3}, DType::f16);
  EXPECT_TRUE(convert(from.view(), to.view()));
}

TEST(tensor, memory_is_aligned_writable_and_of_the_asked_size) {
  for (const std::int64_t count : {1, 3, 16, 1000}) {
    auto tensor = Tensor::allocate({count, 3}, DType::f16);
    ASSERT_TRUE(tensor);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor->as<std::byte>()) % 64, 0u);
    EXPECT_EQ(tensor->bytes(), static_cast<std::size_t>(count) * 6);
    std::memset(tensor->as<std::byte>(), 0x5a, tensor->bytes());
  }
}

TEST(tensor, without_elements_is_still_not_empty) {
  const auto tensor = Tensor::allocate({0, 7}, DType::f32);
  ASSERT_TRUE(tensor);
  EXPECT_FALSE(tensor->empty());
  EXPECT_EQ(tensor->bytes(), 0u);
  EXPECT_TRUE(Tensor().empty());
}

TEST(tensor, absurd_sizes_are_errors_with_the_number_of_bytes) {
  const auto large = Tensor::allocate({std::int64_t{1} << 40, 3}, DType::f32);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, ErrorCode::out_of_memory);
  EXPECT_NE(large.error().message.find("13194139533312 bytes"), std::string::npos)
      << large.error().message;
  const std::int64_t huge = std::int64_t{1} << 62;
  for (const Shape shape : {Shape{huge, huge}, Shape{huge, 2}, Shape{-1}, Shape{huge, huge, 0}}) {
    const auto refused = Tensor::allocate(shape, DType::i64);
    ASSERT_FALSE(refused) << shape.to_string();
    EXPECT_EQ(refused.error().code, ErrorCode::out_of_memory);
  }
}

TEST(tensor, devices_that_are_not_there_are_device_errors) {
  if (cuda_device_count() > 0) GTEST_SKIP() << "there is a GPU here";
  const auto refused = Tensor::allocate({1}, DType::f32, {DeviceKind::cuda, 0});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::device);
}

TEST(tensor, moving_keeps_the_memory_and_empties_the_source) {
  Tensor first = *Tensor::allocate({4}, DType::f32);
  const float* address = first.as<float>();
  Tensor second = std::move(first);
  EXPECT_EQ(second.as<float>(), address);
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move): the promise under test
  EXPECT_EQ(first.shape().rank(), 0);
  Tensor third = *Tensor::allocate({9}, DType::f16);
  third = std::move(second);
  EXPECT_EQ(third.as<float>(), address);
  EXPECT_EQ(third.shape(), Shape({4}));
  EXPECT_EQ(third.dtype(), DType::f32);
}

TEST(shape, equality_and_text_heed_the_rank) {
  EXPECT_EQ(Shape({2, 3}), Shape({2, 3}));
  EXPECT_NE(Shape({2, 3}), Shape({3, 2}));
  EXPECT_NE(Shape({2}), Shape({2, 1}));
  EXPECT_EQ(Shape({576, 4096}).to_string(), "[576, 4096]");
  EXPECT_EQ(Shape().to_string(), "[]");
  EXPECT_EQ(Shape().elements(), 1);
}

TEST(view, slices_of_a_column_block_point_into_the_rows) {
  Tensor tensor = *Tensor::allocate({4, 6}, DType::f32);
  std::iota(tensor.as<float>(), tensor.as<float>() + 24, 0.0f);
  TensorView columns = tensor.view();
  columns.data += 2 * sizeof(float);
  columns.shape = {4, 3};
  EXPECT_FALSE(columns.contiguous());
  const TensorView rows = columns.slice(1, 2);
  EXPECT_EQ(rows.shape, Shape({2, 3}));
  EXPECT_EQ(rows.row<float>(1)[2], 2 * 6 + 2 + 2);
}

}  // namespace
}  // namespace fovea
