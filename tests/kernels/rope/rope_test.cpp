#include "kernels/ops/rope/rope.h"

#include <gtest/gtest.h>

#include "support/tensors.h"

namespace fovea::testing {
namespace {

// One rounding of cosine and sine, two of products; inputs are of order 1.
constexpr double kTolerance = 1e-6;

struct RopeShape {
  std::int64_t rows, heads, head_dim;
};

std::vector<double> reference(const std::vector<float>& x, const RopeShape& shape,
                              const std::vector<std::int32_t>& positions, double theta) {
  std::vector<double> result(x.begin(), x.end());
  const std::int64_t half = shape.head_dim / 2;
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    for (std::int64_t head = 0; head < shape.heads; ++head) {
      double* pair = result.data() + (row * shape.heads + head) * shape.head_dim;
      for (std::int64_t c = 0; c < half; ++c) {
        const double angle =
            positions[static_cast<std::size_t>(row)] *
            std::pow(theta, -2.0 * static_cast<double>(c) / static_cast<double>(shape.head_dim));
        const double first = pair[c], second = pair[c + half];
        pair[c] = first * std::cos(angle) - second * std::sin(angle);
        pair[c + half] = second * std::cos(angle) + first * std::sin(angle);
      }
    }
  }
  return result;
}

class RopeTest : public ::testing::TestWithParam<RopeShape> {};

TEST_P(RopeTest, rotation_equals_the_definition) {
  const RopeShape& p = GetParam();
  Random random(1);
  const std::vector<float> values = random.normals(p.rows * p.heads * p.head_dim);
  std::vector<std::int32_t> positions;
  for (std::int64_t row = 0; row < p.rows; ++row) {
    positions.push_back(static_cast<std::int32_t>(random.integer(0, 4096)));
  }
  for (const float theta : {10000.0f, 500000.0f, 1.0f}) {
    GuardedTensor x({p.rows, p.heads, p.head_dim}, values, 9);
    GuardedTensor same({p.rows, p.heads, p.head_dim}, values);
    Context one = cpu_context(1), three = cpu_context(3);
    ASSERT_TRUE(rope(three, x.view(), positions, theta));
    EXPECT_TRUE(close_to(x.values(), reference(values, p, positions, theta), kTolerance));
    EXPECT_TRUE(x.guards_intact());
    ASSERT_TRUE(rope(one, same.view(), positions, theta));
    EXPECT_TRUE(same_bits(x.values(), same.values()));
  }
}

INSTANTIATE_TEST_SUITE_P(shapes, RopeTest,
                         ::testing::Values(RopeShape{0, 2, 8}, RopeShape{1, 1, 2},
                                           RopeShape{3, 5, 6}, RopeShape{1, 32, 64},
                                           RopeShape{2, 2, 80}, RopeShape{640, 4, 128}),
                         [](const auto& row) {
                           return std::to_string(row.param.rows) + "x" +
                                  std::to_string(row.param.heads) + "x" +
                                  std::to_string(row.param.head_dim);
                         });

TEST(Rope, long_contexts_stay_exact) {
  const RopeShape shape{6, 1, 64};
  const std::vector<std::int32_t> positions = {0, 1, 131071, 1000003, 16777217, 2147483647};
  Random random(2);
  const std::vector<float> values = random.normals(6 * 64);
  GuardedTensor x({6, 1, 64}, values);
  Context context = cpu_context(1);
  ASSERT_TRUE(rope(context, x.view(), positions, 10000.0f));
  EXPECT_TRUE(close_to(x.values(), reference(values, shape, positions, 10000.0), kTolerance));
}

TEST(Rope, position_zero_changes_no_bit) {
  Random random(3);
  const std::vector<float> values = random.normals(4 * 32);
  GuardedTensor x({1, 4, 32}, values);
  Context context = cpu_context(1);
  const std::int32_t position = 0;
  ASSERT_TRUE(rope(context, x.view(), {&position, 1}, 10000.0f));
  EXPECT_TRUE(same_bits(x.values(), values));
}

TEST(Rope, arguments_that_disagree_are_usage_errors) {
  GuardedTensor x({2, 1, 4}, std::vector<float>(8, 1.0f)),
      odd({2, 1, 3}, std::vector<float>(6, 1.0f));
  Context context = cpu_context(1);
  const auto is_usage = [](const Status& status) {
    return !status && status.error().code == ErrorCode::usage;
  };
  const std::vector<std::int32_t> good = {0, 1}, few = {0}, negative = {0, -1};
  EXPECT_TRUE(rope(context, x.view(), good, 10000.0f));
  EXPECT_TRUE(is_usage(rope(context, odd.view(), good, 10000.0f)));
  EXPECT_TRUE(is_usage(rope(context, x.view(), few, 10000.0f)));
  EXPECT_TRUE(is_usage(rope(context, x.view(), negative, 10000.0f)));
  EXPECT_TRUE(is_usage(rope(context, x.view(), good, 0.0f)));
  EXPECT_TRUE(is_usage(rope(context, x.view(), good, NAN)));
}

}  // namespace
}  // namespace fovea::testing
