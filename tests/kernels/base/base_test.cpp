// Errors, checked arithmetic and parallel_for.

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/base/checked.h"
#include "kernels/base/error.h"
#include "kernels/base/parallel.h"

namespace fovea {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

TEST(checked_arithmetic, holds_at_its_limits) {
  EXPECT_EQ(checked_add(kMax - 1, std::int64_t{1}), kMax);
  EXPECT_EQ(checked_add(kMax, std::int64_t{1}), std::nullopt);
  EXPECT_EQ(checked_add(kMin, std::int64_t{-1}), std::nullopt);
  EXPECT_EQ(checked_mul(kMax, std::int64_t{1}), kMax);
  EXPECT_EQ(checked_mul(kMax / 2 + 1, std::int64_t{2}), std::nullopt);
  EXPECT_EQ(checked_mul(kMin, std::int64_t{-1}), std::nullopt);
  EXPECT_EQ(checked_mul(std::size_t{1} << 32, std::size_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_mul(std::uint8_t{16}, std::uint8_t{16}), std::nullopt);
}

TEST(checked_arithmetic, products_refuse_overflow_and_negative_extents) {
  const auto product = [](std::vector<std::int64_t> extents) { return checked_product(extents); };
  EXPECT_EQ(product({}), 1);
  EXPECT_EQ(product({2, 3, 4}), 24);
  EXPECT_EQ(product({2, 0, 4}), 0);
  EXPECT_EQ(product({2, -1}), std::nullopt);
  EXPECT_EQ(product({0, -1}), std::nullopt);
  EXPECT_EQ(product({std::int64_t{1} << 32, std::int64_t{1} << 31}), std::nullopt);
  EXPECT_EQ(product({kMax, 1, 1}), kMax);
}

TEST(error, text_says_what_where_and_what_to_do) {
  const Error error = make_error(ErrorCode::bad_model, "expected 4, found 5")
                          .in_file("a.safetensors")
                          .in_field("w")
                          .at(12)
                          .with_remedy("Download it again.");
  EXPECT_EQ(error.to_string(),
            "bad_model: expected 4, found 5 (file a.safetensors, field w, offset 12). "
            "Download it again.");
  EXPECT_EQ(make_error(ErrorCode::io, "no").to_string(), "io: no");
}

Result<std::unique_ptr<int>> half(int number) {
  if (number % 2 != 0) return make_error(ErrorCode::bad_input, "odd");
  return std::make_unique<int>(number / 2);
}

Result<int> quarter(int number) {
  FOVEA_TRY(const auto first, half(number));
  FOVEA_TRY(const auto second, half(*first));
  return *second;
}

TEST(error, results_carry_values_or_errors_through_calls) {
  EXPECT_EQ(*quarter(12), 3);
  const auto odd = quarter(6);
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().message, "odd");
}

TEST(parallel_for, covers_every_index_once_from_multiples_of_the_grain) {
  for (const int threads : {0, 1, 2, 3, 16}) {
    for (const std::int64_t count : {0, 1, 7, 64, 1001}) {
      for (const std::int64_t grain : {-1, 1, 8, 1000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
        parallel_for(threads, count, grain, [&](std::int64_t begin, std::int64_t end) {
          EXPECT_EQ(begin % std::max<std::int64_t>(grain, 1), 0);
          EXPECT_LT(begin, end);
          for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        for (const auto& visit : visits) ASSERT_EQ(visit, 1);
      }
    }
  }
}

TEST(parallel_for, nested_calls_cover_everything_too) {
  std::array<std::atomic<int>, 6> visits{};
  parallel_for(2, 2, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t outer = begin; outer < end; ++outer) {
      parallel_for(2, 3, 1, [&, outer](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i)
          ++visits[static_cast<std::size_t>(3 * outer + i)];
      });
    }
  });
  for (const auto& visit : visits) EXPECT_EQ(visit, 1);
  EXPECT_GE(available_threads(), 1);
}

}  // namespace
}  // namespace fovea
