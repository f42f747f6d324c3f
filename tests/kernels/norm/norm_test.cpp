#include "kernels/ops/norm/norm.h"

#include <gtest/gtest.h>

#include "support/tensors.h"

namespace fovea::testing {
namespace {

// Rounding of a few float32 operations per element, on values of up to some ten.
constexpr double kTolerance = 2e-6;

struct RowShape {
  std::int64_t rows, width;
};

class NormTest : public ::testing::TestWithParam<RowShape> {
 protected:
  struct Inputs {
    std::vector<float> x, weight, bias;
  };
  Inputs inputs(float mean = 0.0f) const {
    Random random(1);
    Inputs in{random.normals(GetParam().rows * GetParam().width), random.normals(GetParam().width),
              random.normals(GetParam().width)};
    for (float& value : in.x) value += mean;
    return in;
  }
  Shape shape() const { return {GetParam().rows, GetParam().width}; }

  std::vector<double> reference(const Inputs& in, bool centred, double epsilon) const {
    const std::int64_t width = GetParam().width;
    std::vector<double> result;
    for (std::int64_t row = 0; row < GetParam().rows; ++row) {
      const float* x = in.x.data() + row * width;
      double mean = 0.0, squares = 0.0;
      for (std::int64_t i = 0; centred && i < width; ++i) mean += x[i];
      mean /= static_cast<double>(width);
      for (std::int64_t i = 0; i < width; ++i) squares += (x[i] - mean) * (x[i] - mean);
      const double factor = 1.0 / std::sqrt(squares / static_cast<double>(width) + epsilon);
      for (std::int64_t i = 0; i < width; ++i) {
        const auto c = static_cast<std::size_t>(i);
        result.push_back((x[i] - mean) * factor * in.weight[c] + (centred ? in.bias[c] : 0.0));
      }
    }
    return result;
  }
};

TEST_P(NormTest, rms_norm_equals_the_definition) {
  const Inputs in = inputs();
  GuardedTensor x(shape(), in.x, 3), y(shape(), 5), weight({GetParam().width}, in.weight);
  Context context = cpu_context(2);
  ASSERT_TRUE(rms_norm(context, x.view(), weight.view(), 1e-5f, y.view()));
  EXPECT_TRUE(close_to(y.values(), reference(in, false, 1e-5f), kTolerance));
  EXPECT_TRUE(y.guards_intact());
}

TEST_P(NormTest, layer_norm_equals_the_definition) {
  const Inputs in = inputs();
  GuardedTensor x(shape(), in.x, 3), y(shape(), 5);
  GuardedTensor weight({GetParam().width}, in.weight), bias({GetParam().width}, in.bias);
  Context context = cpu_context(2);
  ASSERT_TRUE(layer_norm(context, x.view(), weight.view(), bias.view(), 1e-6f, y.view()));
  EXPECT_TRUE(close_to(y.values(), reference(in, true, 1e-6f), kTolerance));
  EXPECT_TRUE(y.guards_intact());
}

TEST_P(NormTest, layer_norm_does_not_cancel_around_a_large_mean) {
  const Inputs in = inputs(1000.0f);
  GuardedTensor x(shape(), in.x), y(shape());
  GuardedTensor weight({GetParam().width}, in.weight), bias({GetParam().width}, in.bias);
  Context context = cpu_context(1);
  ASSERT_TRUE(layer_norm(context, x.view(), weight.view(), bias.view(), 1e-5f, y.view()));
  // The float32 mean of values near 1000 is itself off by some 1e-4; a width of 1 has variance 0.
  const double tolerance = GetParam().width == 1 ? 0.1 : 2e-3;
  EXPECT_TRUE(close_to(y.values(), reference(in, true, 1e-5f), tolerance));
}

TEST_P(NormTest, in_place_and_thread_count_change_no_bit) {
  const Inputs in = inputs();
  GuardedTensor x(shape(), in.x), apart(shape()), weight({GetParam().width}, in.weight);
  GuardedTensor bias({GetParam().width}, in.bias), norm_apart(shape()),
      norm_in_place(shape(), in.x);
  Context one = cpu_context(1), three = cpu_context(3);
  ASSERT_TRUE(layer_norm(one, x.view(), weight.view(), bias.view(), 1e-5f, norm_apart.view()));
  ASSERT_TRUE(layer_norm(three, norm_in_place.view(), weight.view(), bias.view(), 1e-5f,
                         norm_in_place.view()));
  EXPECT_TRUE(same_bits(norm_apart.values(), norm_in_place.values()));
  ASSERT_TRUE(rms_norm(one, x.view(), weight.view(), 1e-5f, apart.view()));
  ASSERT_TRUE(rms_norm(three, x.view(), weight.view(), 1e-5f, x.view()));
  EXPECT_TRUE(same_bits(apart.values(), x.values()));
}

INSTANTIATE_TEST_SUITE_P(shapes, NormTest,
                         ::testing::Values(RowShape{0, 8}, RowShape{1, 1}, RowShape{3, 7},
                                           RowShape{2, 577}, RowShape{1, 4096}, RowShape{640, 320}),
                         [](const auto& row) {
                           return std::to_string(row.param.rows) + "x" +
                                  std::to_string(row.param.width);
                         });

TEST(NormErrors, arguments_that_disagree_are_usage_errors) {
  GuardedTensor x({2, 4}, std::vector<float>(8, 1.0f)), y({2, 4}), weight({4}, {1, 1, 1, 1});
  GuardedTensor narrow({2, 3}), three({3}, {1, 1, 1});
  Context context = cpu_context(1);
  const auto is_usage = [](const Status& status) {
    return !status && status.error().code == ErrorCode::usage;
  };
  EXPECT_TRUE(is_usage(rms_norm(context, x.view(), three.view(), 1e-5f, y.view())));
  EXPECT_TRUE(is_usage(rms_norm(context, x.view(), weight.view(), 1e-5f, narrow.view())));
  EXPECT_TRUE(is_usage(rms_norm(context, x.view(), weight.view(), -1.0f, y.view())));
  EXPECT_TRUE(is_usage(rms_norm(context, x.view(), {}, 1e-5f, y.view())));
  EXPECT_TRUE(is_usage(layer_norm(context, x.view(), weight.view(), three.view(), 0.0f, y.view())));
  TensorView half = x.view();
  half.dtype = DType::bf16;
  EXPECT_TRUE(is_usage(rms_norm(context, half, weight.view(), 1e-5f, y.view())));
}

}  // namespace
}  // namespace fovea::testing
