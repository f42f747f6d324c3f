#include "kernels/ops/activation/activation.h"

#include <gtest/gtest.h>

#include "support/tensors.h"

namespace fovea::testing {
namespace {

constexpr double kTolerance = 1e-6;  // relative to max(1, |value|)

double reference(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::gelu_erf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::quick_gelu:
      return x / (1.0 + std::exp(-1.702 * x));
    case Activation::silu:
      return x / (1.0 + std::exp(-x));
    case Activation::relu:
      return std::max(x, 0.0);
  }
  return NAN;
}

struct RowShape {
  std::int64_t rows, width;
};

class ActivationTest : public ::testing::TestWithParam<RowShape> {
 protected:
  Shape shape() const { return {GetParam().rows, GetParam().width}; }
  std::vector<float> normals(std::uint64_t stream, float deviation = 3.0f) const {
    return Random(stream).normals(GetParam().rows * GetParam().width, deviation);
  }
};

TEST_P(ActivationTest, every_activation_equals_its_definition) {
  const std::vector<float> values = normals(1);
  for (const Activation activation : {Activation::none, Activation::gelu_erf, Activation::gelu_tanh,
                                      Activation::quick_gelu, Activation::silu, Activation::relu}) {
    SCOPED_TRACE(static_cast<int>(activation));
    GuardedTensor x(shape(), values, 3), same(shape(), values);
    std::vector<double> expected;
    for (const float value : values) expected.push_back(reference(activation, value));
    Context one = cpu_context(1), three = cpu_context(3);
    ASSERT_TRUE(activate(three, x.view(), activation));
    EXPECT_TRUE(close_to(x.values(), expected, kTolerance));
    EXPECT_TRUE(x.guards_intact());
    ASSERT_TRUE(activate(one, same.view(), activation));
    EXPECT_TRUE(same_bits(x.values(), same.values()));
  }
}

TEST_P(ActivationTest, silu_mul_equals_its_definition_also_in_place) {
  const std::vector<float> gate_values = normals(2), up_values = normals(3);
  GuardedTensor gate(shape(), gate_values, 3), up(shape(), up_values, 1), out(shape(), 5);
  std::vector<double> expected;
  for (std::size_t i = 0; i < gate_values.size(); ++i) {
    expected.push_back(reference(Activation::silu, gate_values[i]) * up_values[i]);
  }
  Context one = cpu_context(1), three = cpu_context(3);
  ASSERT_TRUE(silu_mul(one, gate.view(), up.view(), out.view()));
  EXPECT_TRUE(close_to(out.values(), expected, kTolerance));
  EXPECT_TRUE(out.guards_intact());
  ASSERT_TRUE(silu_mul(three, gate.view(), up.view(), gate.view()));
  EXPECT_TRUE(same_bits(gate.values(), out.values()));
  EXPECT_TRUE(gate.guards_intact());
}

TEST_P(ActivationTest, add_of_all_rows_and_of_one_row) {
  const std::vector<float> y_values = normals(4), x_values = normals(5);
  const auto width = static_cast<std::size_t>(GetParam().width);
  const std::vector<float> row_values = Random(6).normals(GetParam().width);
  std::vector<double> expected, expected_row;
  for (std::size_t i = 0; i < y_values.size(); ++i) {
    expected.push_back(static_cast<double>(y_values[i]) + x_values[i]);
    expected_row.push_back(static_cast<double>(y_values[i]) + row_values[i % width]);
  }
  GuardedTensor x(shape(), x_values, 2), y(shape(), y_values, 3), z(shape(), y_values, 1);
  GuardedTensor row({1, GetParam().width}, row_values);
  Context context = cpu_context(2);
  ASSERT_TRUE(add(context, x.view(), y.view()));
  EXPECT_TRUE(close_to(y.values(), expected, 1e-7));
  ASSERT_TRUE(add(context, row.view(), z.view()));
  EXPECT_TRUE(close_to(z.values(), expected_row, 1e-7));
  EXPECT_TRUE(y.guards_intact() && z.guards_intact());
}

TEST_P(ActivationTest, softmax_rows_equals_its_definition) {
  const std::vector<float> values = normals(7);
  const std::int64_t width = GetParam().width;
  std::vector<double> expected;
  for (std::int64_t row = 0; row < GetParam().rows; ++row) {
    const float* x = values.data() + row * width;
    const double maximum = *std::max_element(x, x + width);
    double sum = 0.0;
    for (std::int64_t i = 0; i < width; ++i) sum += std::exp(x[i] - maximum);
    for (std::int64_t i = 0; i < width; ++i) expected.push_back(std::exp(x[i] - maximum) / sum);
  }
  GuardedTensor x(shape(), values, 3), same(shape(), values);
  Context one = cpu_context(1), three = cpu_context(3);
  ASSERT_TRUE(softmax_rows(three, x.view()));
  EXPECT_TRUE(close_to(x.values(), expected, 1e-6));
  EXPECT_TRUE(x.guards_intact());
  ASSERT_TRUE(softmax_rows(one, same.view()));
  EXPECT_TRUE(same_bits(x.values(), same.values()));
}

INSTANTIATE_TEST_SUITE_P(shapes, ActivationTest,
                         ::testing::Values(RowShape{0, 8}, RowShape{1, 1}, RowShape{3, 7},
                                           RowShape{2, 577}, RowShape{1, 11008}, RowShape{640, 65}),
                         [](const auto& row) {
                           return std::to_string(row.param.rows) + "x" +
                                  std::to_string(row.param.width);
                         });

TEST(Softmax, extreme_logits_stay_finite) {
  const float infinity = std::numeric_limits<float>::infinity();
  GuardedTensor x({4, 3}, {1e4f, -1e4f, 1e4f,                //
                           -infinity, 0.0f, -infinity,       //
                           -infinity, -infinity, -infinity,  //
                           -1e30f, -1e30f, -1e30f});
  Context context = cpu_context(1);
  ASSERT_TRUE(softmax_rows(context, x.view()));
  const std::vector<double> expected = {0.5, 0.0, 0.5, 0.0,     1.0,     0.0,
                                        0.0, 0.0, 0.0, 1.0 / 3, 1.0 / 3, 1.0 / 3};
  EXPECT_TRUE(close_to(x.values(), expected, 1e-7));
}

TEST(Softmax, a_nan_spoils_its_row_visibly) {
  GuardedTensor x({2, 9}, std::vector<float>(18, 1.0f));
  x.view().as<float>()[4] = NAN;
  Context context = cpu_context(1);
  ASSERT_TRUE(softmax_rows(context, x.view()));
  const std::vector<float> values = x.values();
  for (std::size_t i = 0; i < 9; ++i) EXPECT_TRUE(std::isnan(values[i]));
  for (std::size_t i = 9; i < 18; ++i) EXPECT_FLOAT_EQ(values[i], 1.0f / 9);
}

TEST(ActivationErrors, arguments_that_disagree_are_usage_errors) {
  GuardedTensor x({2, 4}, std::vector<float>(8, 1.0f)), narrow({2, 3}, std::vector<float>(6, 1.0f));
  Context context = cpu_context(1);
  const auto is_usage = [](const Status& status) {
    return !status && status.error().code == ErrorCode::usage;
  };
  EXPECT_TRUE(is_usage(silu_mul(context, x.view(), narrow.view(), x.view())));
  EXPECT_TRUE(is_usage(silu_mul(context, x.view(), x.view(), narrow.view())));
  EXPECT_TRUE(is_usage(add(context, narrow.view(), x.view())));
  EXPECT_TRUE(is_usage(softmax_rows(context, {})));
  TensorView half = x.view();
  half.dtype = DType::f16;
  EXPECT_TRUE(is_usage(activate(context, half, Activation::relu)));
  TensorView overlapping = x.view();
  overlapping.row_stride = 3;
  EXPECT_TRUE(is_usage(activate(context, overlapping, Activation::relu)));
}

}  // namespace
}  // namespace fovea::testing
