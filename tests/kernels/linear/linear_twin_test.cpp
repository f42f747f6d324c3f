#include <gtest/gtest.h>

#include <array>

#include "kernels/ops/linear/linear.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class LinearTwinTest : public DeviceTest<DeviceCase> {
 protected:
  static LinearDType kept(DType dtype) {
    if (dtype == DType::f32) return LinearDType::f32;
    return dtype == DType::bf16 ? LinearDType::bf16 : LinearDType::f16;
  }
  /// Sums of `inputs` products of numbers of order 1, of which those of 16 bits were rounded before
  /// in both computations.
  double tolerance(std::int64_t inputs, DType result) const {
    const double sums = 2e-6 * std::sqrt(static_cast<double>(inputs));
    return result == DType::f32 ? sums : sums + GetParam().tolerance;
  }

  void check(std::int64_t rows, std::int64_t inputs, std::int64_t outputs, bool with_bias,
             DType result, const Epilogue& epilogue) {
    Random random(static_cast<std::uint64_t>(rows * 1000 + inputs));
    const DType dtype = GetParam().dtype;
    const float scale = 1.0f / std::sqrt(static_cast<float>(inputs));
    const std::vector<float> weights = rounded(random.normals(outputs * inputs, scale), dtype);
    const std::vector<float> biases = rounded(random.normals(outputs), dtype);
    const std::vector<float> old = rounded(random.normals(rows * outputs), result);
    GuardedTensor weight({outputs, inputs}, weights), bias({outputs}, biases);
    GuardedTensor x({rows, inputs}, rounded(random.normals(rows * inputs), dtype), 8);
    GuardedTensor y({rows, outputs}, old, 8), expected({rows, outputs}, old);
    Context here = cpu_context(1), there = test_context(GetParam().device);
    const ConstTensorView given = with_bias ? ConstTensorView(bias.view()) : ConstTensorView{};
    auto reference = Linear::create(here, weight.view(), given, LinearDType::f32);
    auto linear = Linear::create(there, weight.view(), given, kept(dtype));
    ASSERT_TRUE(reference && linear) << linear.error().to_string();
    Placed px(there, x, dtype), py(there, y, result);
    ASSERT_TRUE(reference->apply(here, x.view(), expected.view(), epilogue));
    const Status status = linear->apply(there, px.view(), py.view(), epilogue);
    ASSERT_TRUE(status) << status.error().to_string();
    py.fetch();
    EXPECT_TRUE(close_to(y.values(), wide(expected.values()), tolerance(inputs, result)))
        << rows << " rows, " << inputs << " to " << outputs;
    EXPECT_TRUE(y.guards_intact());
  }
};

TEST_P(LinearTwinTest, products_equal_the_cpus_for_any_rows_and_sizes) {
  for (const std::int64_t rows : {1, 2, 17, 64, 577}) {
    for (const auto& [inputs, outputs] : {std::pair<std::int64_t, std::int64_t>{64, 48},
                                          {320, 960},
                                          {588, 256},
                                          {1024, 4096},
                                          {33, 7}}) {
      check(rows, inputs, outputs, false, DType::f32, {});
      check(rows, inputs, outputs, true, GetParam().dtype, {});
    }
  }
}

TEST_P(LinearTwinTest, few_rows_equal_the_cpus_for_any_division_of_the_inputs) {
  const DType dtype = GetParam().dtype;
  for (const std::int64_t rows : {2, 16, 29, 64}) {
    for (const auto& [inputs, outputs] :
         {std::pair<std::int64_t, std::int64_t>{8, 1}, {72, 130}, {520, 333}, {1032, 256}, {2048, 640}}) {
      check(rows, inputs, outputs, true, dtype, {});
      check(rows, inputs, outputs, true, DType::f32, {.activation = Activation::none, .accumulate = true});
      check(rows, inputs, outputs, false, dtype, {.activation = Activation::none, .accumulate = true});
    }
  }
}

TEST_P(LinearTwinTest, few_rows_do_not_depend_on_the_rows_beside_them) {
  if (GetParam().dtype == DType::f32) GTEST_SKIP() << "cuBLASLt's to choose";
  constexpr std::int64_t kInputs = 1096, kOutputs = 270, kAll = 64;
  Random random(17);
  GuardedTensor weight({kOutputs, kInputs}, random.normals(kOutputs * kInputs, 0.03f));
  GuardedTensor x({kAll, kInputs}, random.normals(kAll * kInputs)), all({kAll, kOutputs});
  Context there = test_context(GetParam().device);
  auto linear = Linear::create(there, weight.view(), {}, kept(GetParam().dtype));
  ASSERT_TRUE(linear) << linear.error().to_string();
  Placed px(there, x, GetParam().dtype), pall(there, all);
  ASSERT_TRUE(linear->apply(there, px.view(), pall.view()));
  pall.fetch();
  for (const std::int64_t rows : {2, 16, 17, 33}) {
    GuardedTensor some({rows, kOutputs});
    Placed psome(there, some);
    const std::int64_t first = kAll - rows;
    ASSERT_TRUE(linear->apply(there, px.view().slice(first, rows), psome.view()));
    psome.fetch();
    const std::vector<float> whole = all.values();
    EXPECT_TRUE(same_bits(some.values(), {whole.begin() + first * kOutputs, whole.end()})) << rows;
  }
}

TEST_P(LinearTwinTest, residuals_are_added_and_activations_applied) {
  for (const std::int64_t rows : {1, 40}) {
    check(rows, 256, 320, true, DType::f32, {.activation = Activation::none, .accumulate = true});
    for (const Activation activation :
         {Activation::gelu_erf, Activation::quick_gelu, Activation::silu}) {
      check(rows, 256, 320, true, GetParam().dtype,
            {.activation = activation, .accumulate = false});
    }
  }
}

TEST_P(LinearTwinTest, stacked_parts_equal_one_weight) {
  Random random(9);
  const std::vector<float> values = random.normals(96 * 64), biases = random.normals(96);
  GuardedTensor weight({96, 64}, values), bias({96}, biases), x({5, 64}, random.normals(5 * 64));
  GuardedTensor whole({5, 96}), parts({5, 96});
  Context there = test_context(GetParam().device);
  const ConstTensorView w(weight.view()), b(bias.view());
  auto one = Linear::create(there, w, b, kept(GetParam().dtype));
  const std::array weights{w.slice(0, 32), w.slice(32, 64)};
  const std::array part_biases{b.slice(0, 32), b.slice(32, 64)};
  auto two = Linear::create(there, weights, part_biases, kept(GetParam().dtype));
  ASSERT_TRUE(one && two);
  Placed px(there, x), pwhole(there, whole), pparts(there, parts);
  ASSERT_TRUE(one->apply(there, px.view(), pwhole.view()));
  ASSERT_TRUE(two->apply(there, px.view(), pparts.view()));
  pwhole.fetch();
  pparts.fetch();
  EXPECT_TRUE(same_bits(whole.values(), parts.values()));
}

INSTANTIATE_TEST_SUITE_P(Devices, LinearTwinTest, gpu_types(), case_name);

}  // namespace
}  // namespace fovea::testing
