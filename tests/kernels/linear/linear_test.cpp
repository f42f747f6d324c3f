#include "kernels/ops/linear/linear.h"

#include <gtest/gtest.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace fovea {
namespace {

constexpr float kPoison = -12345.75f;

/// Largest error allowed, as a part of sum |x w| + |bias| + |old y|. float32 sums of some thousand
/// terms stay below 2e-6 of that; a product that rounds x to bfloat16, which has 8 significant bits,
/// errs by up to 2^-8 in every term.
double tolerance_of(const std::string& backend) {
  return backend == "fovea-f32" || backend == "fovea-bf16" ? 2e-6 : 2e-6 + 1.0 / 256;
}

/// Rows of floats with a stride, between guards and with poisoned gaps.
class Rows {
 public:
  Rows(std::int64_t rows, std::int64_t width, std::int64_t gap)
      : rows_(rows),
        width_(width),
        stride_(width + gap),
        values_(static_cast<std::size_t>(rows * stride_ + 2 * kGuard), kPoison) {}

  TensorView view() {
    TensorView view(reinterpret_cast<std::byte*>(values_.data() + kGuard), DType::f32,
                    {rows_, width_});
    view.row_stride = stride_;
    return view;
  }
  float& at(std::int64_t row, std::int64_t column) {
    return values_[static_cast<std::size_t>(kGuard + row * stride_ + column)];
  }
  void fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (std::int64_t row = 0; row < rows_; ++row) {
      for (std::int64_t column = 0; column < width_; ++column) at(row, column) = normal(random);
    }
  }
  std::int64_t rows() const { return rows_; }
  std::int64_t width() const { return width_; }
  /// Elements outside the rows that no longer hold the poison.
  int damaged() const {
    int count = 0;
    const auto size = static_cast<std::int64_t>(values_.size());
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t offset = i - kGuard;
      const bool inside = offset >= 0 && offset < rows_ * stride_ && offset % stride_ < width_;
      if (!inside && values_[static_cast<std::size_t>(i)] != kPoison) ++count;
    }
    return count;
  }

 private:
  static constexpr std::int64_t kGuard = 64;
  std::int64_t rows_, width_, stride_;
  std::vector<float> values_;
};

double reference_activation(Activation activation, double v) {
  switch (activation) {
    case Activation::none:
      return v;
    case Activation::gelu_erf:
      return 0.5 * v * std::erfc(-v / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    case Activation::quick_gelu:
      return v / (1 + std::exp(-1.702 * v));
    case Activation::silu:
      return v / (1 + std::exp(-v));
    case Activation::relu:
      return std::max(v, 0.0);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

struct Case {
  std::int64_t rows, inputs, outputs;
  std::int64_t x_gap = 0, y_gap = 0;
};

// Every remainder of tiles and panels, one and several blocks along each axis, and the odd shapes
// that models have (588 = 3 x 14 x 14 pixels of a patch, 32064 = a vocabulary).
const std::vector<Case> kCases = {
    {0, 5, 7},
    {1, 1, 1},
    {1, 13, 17, 3, 5},
    {2, 13, 32064},
    {1, 588, 65},
    {3, 64, 64, 1, 1},
    {4, 129, 130},
    {5, 31, 15, 0, 2},
    {6, 2, 100},
    {7, 257, 33, 7, 0},
    {13, 1031, 48},
    {25, 2, 3},
    {64, 640, 1100, 0, 9},
    {97, 300, 257},
    {577, 588, 96},
    {640, 700, 130, 4, 4},
    {800, 40, 50},
    {1, 5632, 256},
    {130, 2100, 64},
};

class LinearProduct : public ::testing::TestWithParam<LinearDType> {
 protected:
  void SetUp() override { context_.threads = 2; }

  float rounded(float value) const {
    return GetParam() == LinearDType::bf16 ? to_float(to_bf16(value)) : value;
  }
  std::vector<float> random_values(std::int64_t count, float scale) {
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = normal(random_);
    return values;
  }
  static ConstTensorView as_view(const std::vector<float>& values, Shape shape) {
    return {reinterpret_cast<const std::byte*>(values.data()), DType::f32, shape};
  }
  Linear make(const std::vector<float>& weight, const std::vector<float>& bias, std::int64_t inputs,
              std::int64_t outputs) {
    auto linear =
        Linear::create(context_, as_view(weight, {outputs, inputs}),
                       bias.empty() ? ConstTensorView() : as_view(bias, {outputs}), GetParam());
    EXPECT_TRUE(linear) << linear.error().to_string();
    return std::move(linear).value();
  }
  void expect_ok(const Status& status) { EXPECT_TRUE(status) << status.error().to_string(); }

  /// Compares y with the product in double precision: all of it when small, else a random part.
  void expect_product(const Linear& linear, const std::vector<float>& weight,
                      const std::vector<float>& bias, Rows& x, Rows& y, Rows& before,
                      const Epilogue& epilogue) {
    const std::int64_t inputs = x.width();
    const std::int64_t elements = y.rows() * y.width();
    const std::int64_t budget = 4'000'000 / inputs + 1;
    const double tolerance = tolerance_of(linear.backend());
    for (std::int64_t i = 0; i < std::min(elements, budget); ++i) {
      const std::int64_t element = elements <= budget ? i
                                                      : std::uniform_int_distribution<std::int64_t>(
                                                            0, elements - 1)(random_);
      const std::int64_t row = element / y.width();
      const std::int64_t output = element % y.width();
      double sum = bias.empty() ? 0.0 : bias[static_cast<std::size_t>(output)];
      double magnitude = std::abs(sum);
      for (std::int64_t k = 0; k < inputs; ++k) {
        const double term = static_cast<double>(x.at(row, k)) *
                            rounded(weight[static_cast<std::size_t>(output * inputs + k)]);
        sum += term;
        magnitude += std::abs(term);
      }
      double expected = reference_activation(epilogue.activation, sum);
      if (epilogue.accumulate) {
        expected += before.at(row, output);
        magnitude += std::abs(before.at(row, output));
      }
      // No activation is steeper than 1.2; their own errors are below 3e-7 max(1, |value|).
      const double allowed =
          1.2 * tolerance * magnitude + 3e-7 * std::max(1.0, std::abs(expected)) + 1e-37;
      ASSERT_NEAR(y.at(row, output), expected, allowed)
          << linear.backend() << " row " << row << " output " << output;
    }
  }

  Context context_;
  std::mt19937 random_{20240611};
};

std::string trace(const Case& c) {
  return std::to_string(c.rows) + " x " + std::to_string(c.inputs) + " -> " +
         std::to_string(c.outputs);
}

TEST_P(LinearProduct, equals_the_product_in_double_precision) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(trace(c));
    const auto weight = random_values(c.outputs * c.inputs, 0.3f);
    const auto bias = c.inputs % 2 == 0 ? random_values(c.outputs, 1.0f) : std::vector<float>();
    const Linear linear = make(weight, bias, c.inputs, c.outputs);
    Rows x(c.rows, c.inputs, c.x_gap);
    x.fill(random_);
    Rows y(c.rows, c.outputs, c.y_gap);
    expect_ok(linear.apply(context_, x.view(), y.view()));
    expect_product(linear, weight, bias, x, y, y, {});
    EXPECT_EQ(y.damaged(), 0) << "elements written outside the result";
    EXPECT_EQ(linear.inputs(), c.inputs);
    EXPECT_EQ(linear.outputs(), c.outputs);
    EXPECT_GE(linear.weight_bytes(), static_cast<std::size_t>(c.outputs * c.inputs) *
                                         (GetParam() == LinearDType::bf16 ? 2 : 4));
  }
}

TEST_P(LinearProduct, every_epilogue_is_applied_to_product_plus_bias) {
  const Epilogue epilogues[] = {{Activation::gelu_erf, false},   {Activation::gelu_tanh, false},
                                {Activation::quick_gelu, false}, {Activation::silu, false},
                                {Activation::relu, false},       {Activation::none, true}};
  const Case cases[] = {
      {1, 70, 37}, {2, 33, 64, 1, 1}, {6, 40, 19}, {50, 300, 131, 2, 3}, {200, 20, 70}};
  for (const Epilogue& epilogue : epilogues) {
    for (const Case& c : cases) {
      for (const bool with_bias : {false, true}) {
        SCOPED_TRACE(trace(c) + " activation " +
                     std::to_string(static_cast<int>(epilogue.activation)));
        const auto weight = random_values(c.outputs * c.inputs, 0.4f);
        const auto bias = with_bias ? random_values(c.outputs, 1.0f) : std::vector<float>();
        const Linear linear = make(weight, bias, c.inputs, c.outputs);
        Rows x(c.rows, c.inputs, c.x_gap);
        x.fill(random_);
        Rows y(c.rows, c.outputs, c.y_gap);
        if (epilogue.accumulate) y.fill(random_);
        Rows before = y;
        expect_ok(linear.apply(context_, x.view(), y.view(), epilogue));
        expect_product(linear, weight, bias, x, y, before, epilogue);
        EXPECT_EQ(y.damaged(), 0) << "elements written outside the result";
      }
    }
  }
}

TEST_P(LinearProduct, results_do_not_depend_on_the_number_of_threads) {
  for (const Case& c :
       {Case{1, 900, 700}, Case{5, 600, 300}, Case{160, 700, 330}, Case{640, 300, 20}}) {
    SCOPED_TRACE(trace(c));
    const auto weight = random_values(c.outputs * c.inputs, 0.3f);
    const auto bias = random_values(c.outputs, 1.0f);
    Rows x(c.rows, c.inputs, 0);
    x.fill(random_);
    context_.threads = 1;
    const Linear linear = make(weight, bias, c.inputs, c.outputs);
    Rows one(c.rows, c.outputs, 0);
    expect_ok(linear.apply(context_, x.view(), one.view(), {Activation::silu, false}));
    for (const int threads : {2, 3, 7}) {
      context_.threads = threads;
      const Linear packed_by_many = make(weight, bias, c.inputs, c.outputs);
      Rows many(c.rows, c.outputs, 0);
      expect_ok(packed_by_many.apply(context_, x.view(), many.view(), {Activation::silu, false}));
      for (std::int64_t row = 0; row < c.rows; ++row) {
        SCOPED_TRACE(std::to_string(threads) + " threads, row " + std::to_string(row));
        if (linear.backend() == "onednn-bf16") {  // may cut sums by threads, and promises rounding
          for (std::int64_t output = 0; output < c.outputs; ++output) {
            ASSERT_NEAR(one.at(row, output), many.at(row, output), c.inputs * 0.3 * 1e-6);
          }
        } else {
          ASSERT_EQ(std::memcmp(&one.at(row, 0), &many.at(row, 0),
                                static_cast<std::size_t>(c.outputs) * sizeof(float)),
                    0);
        }
      }
    }
  }
}

TEST_P(LinearProduct, a_row_does_not_depend_on_the_rows_beside_it) {
  const std::int64_t inputs = 1500;
  const std::int64_t outputs = 90;
  const auto weight = random_values(outputs * inputs, 0.3f);
  const Linear linear = make(weight, {}, inputs, outputs);
  Rows x(200, inputs, 0);
  x.fill(random_);
  Rows all(200, outputs, 0);
  expect_ok(linear.apply(context_, x.view(), all.view()));
  for (const std::int64_t rows : {1, 2, 5, 6, 7, 19, 64}) {
    for (const std::int64_t first : {0, 100, 136}) {
      Rows some(rows, outputs, 0);
      expect_ok(linear.apply(context_, x.view().slice(first, rows), some.view()));
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t output = 0; output < outputs; ++output) {
          // Terms are about 0.3 each: sums of 1500 differ by rounding alone.
          ASSERT_NEAR(some.at(row, output), all.at(first + row, output), 1500 * 0.3 * 1e-6)
              << rows << " rows from " << first;
        }
      }
    }
  }
}

TEST_P(LinearProduct, nan_stays_in_its_row) {
  const auto weight = random_values(40 * 64, 0.3f);
  const Linear linear = make(weight, {}, 64, 40);
  for (const std::int64_t rows : {2, 5, 20}) {
    Rows x(rows, 64, 0);
    x.fill(random_);
    x.at(1, 63) = std::numeric_limits<float>::quiet_NaN();
    Rows y(rows, 40, 0);
    expect_ok(linear.apply(context_, x.view(), y.view(), {Activation::relu, false}));
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t output = 0; output < 40; ++output) {
        ASSERT_EQ(std::isnan(y.at(row, output)), row == 1) << "row " << row;
      }
    }
  }
}

TEST_P(LinearProduct, stored_weights_of_any_type_at_any_address_are_read) {
  const std::int64_t inputs = 37;
  const std::int64_t outputs = 21;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    auto weight = random_values(outputs * inputs, 0.3f);
    auto bias = random_values(outputs, 1.0f);
    // Bytes as a file holds them: at an odd address.
    const auto store = [&](std::vector<float>& values) {
      std::vector<std::byte> bytes(1 + values.size() * dtype_size(dtype));
      for (std::size_t i = 0; i < values.size(); ++i) {
        std::byte* to = bytes.data() + 1 + i * dtype_size(dtype);
        if (dtype == DType::f32) {
          std::memcpy(to, &values[i], 4);
        } else if (dtype == DType::f16) {
          const f16 half = to_f16(values[i]);
          values[i] = to_float(half);
          std::memcpy(to, &half, 2);
        } else {
          const bf16 half = to_bf16(values[i]);
          values[i] = to_float(half);
          std::memcpy(to, &half, 2);
        }
      }
      return bytes;
    };
    const std::vector<std::byte> weight_bytes = store(weight);
    const std::vector<std::byte> bias_bytes = store(bias);
    auto linear =
        Linear::create(context_, ConstTensorView(weight_bytes.data() + 1, dtype, {outputs, inputs}),
                       ConstTensorView(bias_bytes.data() + 1, dtype, {outputs}), GetParam());
    ASSERT_TRUE(linear) << linear.error().to_string();
    Rows x(9, inputs, 0);
    x.fill(random_);
    Rows y(9, outputs, 0);
    expect_ok(linear->apply(context_, x.view(), y.view()));
    expect_product(*linear, weight, bias, x, y, y, {});
  }
}

TEST_P(LinearProduct, parts_stacked_equal_the_whole) {
  const auto weight = random_values(50 * 30, 0.3f);
  const auto bias = random_values(50, 1.0f);
  const ConstTensorView whole = as_view(weight, {50, 30});
  const ConstTensorView whole_bias = as_view(bias, {50});
  const ConstTensorView parts[] = {whole.slice(0, 20), whole.slice(20, 1), whole.slice(21, 29)};
  const ConstTensorView biases[] = {whole_bias.slice(0, 20), whole_bias.slice(20, 1),
                                    whole_bias.slice(21, 29)};
  auto stacked = Linear::create(context_, parts, biases, GetParam());
  ASSERT_TRUE(stacked) << stacked.error().to_string();
  const Linear linear = make(weight, bias, 30, 50);
  Rows x(8, 30, 0);
  x.fill(random_);
  Rows a(8, 50, 0);
  Rows b(8, 50, 0);
  expect_ok(linear.apply(context_, x.view(), a.view()));
  expect_ok(stacked->apply(context_, x.view(), b.view()));
  for (std::int64_t row = 0; row < 8; ++row) {
    EXPECT_EQ(std::memcmp(&a.at(row, 0), &b.at(row, 0), 50 * sizeof(float)), 0);
  }
}

TEST_P(LinearProduct, every_instruction_set_is_correct) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    for (const Case& c : {Case{1, 133, 70}, Case{2, 90, 41}, Case{6, 65, 33}, Case{45, 1100, 75}}) {
      SCOPED_TRACE(trace(c));
      const auto weight = random_values(c.outputs * c.inputs, 0.3f);
      const auto bias = random_values(c.outputs, 1.0f);
      const Linear linear = make(weight, bias, c.inputs, c.outputs);
      Rows x(c.rows, c.inputs, 0);
      x.fill(random_);
      Rows y(c.rows, c.outputs, 0);
      expect_ok(linear.apply(context_, x.view(), y.view(), {Activation::gelu_erf, false}));
      expect_product(linear, weight, bias, x, y, y, {Activation::gelu_erf, false});
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

TEST_P(LinearProduct, refuses_what_does_not_fit) {
  const auto values = random_values(6 * 8, 1.0f);
  const auto code = [](const auto& result) {
    return result ? ErrorCode::internal : result.error().code;
  };
  const auto create = [&](ConstTensorView weight, ConstTensorView bias) {
    return Linear::create(context_, weight, bias, GetParam());
  };
  EXPECT_EQ(code(create(as_view(values, {48}), {})), ErrorCode::usage);
  EXPECT_EQ(code(create(as_view(values, {0, 8}), {})), ErrorCode::usage);
  EXPECT_EQ(code(create(as_view(values, {6, 8}), as_view(values, {5}))), ErrorCode::usage);
  ConstTensorView integers = as_view(values, {6, 8});
  integers.dtype = DType::i32;
  EXPECT_EQ(code(create(integers, {})), ErrorCode::unsupported);

  const Linear linear = make(values, {}, 8, 6);
  Rows x(3, 8, 0);
  Rows y(3, 6, 0);
  Rows narrow(3, 7, 0);
  Rows low(2, 6, 0);
  EXPECT_EQ(code(linear.apply(context_, narrow.view(), y.view())), ErrorCode::usage);
  EXPECT_EQ(code(linear.apply(context_, x.view(), low.view())), ErrorCode::usage);
  EXPECT_EQ(code(linear.apply(context_, x.view(), x.view())), ErrorCode::usage);
  EXPECT_EQ(code(linear.apply(context_, x.view(), y.view(), {Activation::silu, true})),
            ErrorCode::usage);
  const Linear empty;
  EXPECT_FALSE(empty.apply(context_, x.view(), y.view()));
}

INSTANTIATE_TEST_SUITE_P(cpu, LinearProduct, ::testing::Values(LinearDType::f32, LinearDType::bf16),
                         [](const auto& kind) {
                           return kind.param == LinearDType::f32 ? "f32" : "bf16";
                         });

}  // namespace
}  // namespace fovea
