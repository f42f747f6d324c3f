#include <gtest/gtest.h>

#include "kernels/ops/activation/activation.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class ActivationTwinTest : public DeviceTest<DeviceCase> {};

TEST_P(ActivationTwinTest, gated_products_equal_the_cpus) {
  Context here = cpu_context(1), there = test_context(GetParam().device);
  Random random(3);
  for (const std::int64_t width : {1, 7, 96, 864}) {
    const auto draw = [&] { return rounded(random.normals(5 * width), GetParam().dtype); };
    GuardedTensor gate({5, width}, draw(), 8), up({5, width}, draw(), 3), expected({5, width});
    Placed pg(there, gate, GetParam().dtype), pu(there, up, GetParam().dtype);
    ASSERT_TRUE(silu_mul(here, gate.view(), up.view(), expected.view()));
    ASSERT_TRUE(silu_mul(there, pg.view(), pu.view(), pg.view()));
    pg.fetch();
    EXPECT_TRUE(close_to(gate.values(), wide(expected.values()), GetParam().tolerance));
    EXPECT_TRUE(gate.guards_intact());
  }
}

TEST_P(ActivationTwinTest, every_activation_equals_the_cpus) {
  Context here = cpu_context(1), there = test_context(GetParam().device);
  Random random(4);
  for (const Activation activation : {Activation::none, Activation::gelu_erf, Activation::gelu_tanh,
                                      Activation::quick_gelu, Activation::silu, Activation::relu}) {
    const std::vector<float> values = rounded(random.normals(4 * 136, 3.0f), GetParam().dtype);
    GuardedTensor x({4, 136}, values), expected({4, 136}, values);
    Placed px(there, x, GetParam().dtype);
    ASSERT_TRUE(activate(here, expected.view(), activation));
    ASSERT_TRUE(activate(there, px.view(), activation));
    px.fetch();
    EXPECT_TRUE(close_to(x.values(), wide(expected.values()), GetParam().tolerance));
  }
}

TEST_P(ActivationTwinTest, sums_equal_the_cpus_also_of_one_row_and_many) {
  Context here = cpu_context(1), there = test_context(GetParam().device);
  Random random(5);
  for (const std::int64_t rows : {1, 6}) {
    const std::vector<float> added = rounded(random.normals(rows * 40), GetParam().dtype);
    const std::vector<float> values = random.normals(6 * 40);
    GuardedTensor x({rows, 40}, added), y({6, 40}, values, 2), expected({6, 40}, values);
    Placed px(there, x, GetParam().dtype), py(there, y);
    ASSERT_TRUE(add(here, x.view(), expected.view()));
    ASSERT_TRUE(add(there, px.view(), py.view()));
    py.fetch();
    EXPECT_TRUE(close_to(y.values(), wide(expected.values()), 1e-6));
    EXPECT_TRUE(y.guards_intact());
  }
}

TEST_P(ActivationTwinTest, softmax_equals_the_cpus_also_of_rows_without_mass) {
  Context here = cpu_context(1), there = test_context(GetParam().device);
  Random random(6);
  std::vector<float> values = random.normals(3 * 577, 4.0f);
  std::fill_n(values.begin() + 577, 577, -std::numeric_limits<float>::infinity());
  GuardedTensor x({3, 577}, values), expected({3, 577}, values);
  Placed px(there, x);
  ASSERT_TRUE(softmax_rows(here, expected.view()));
  ASSERT_TRUE(softmax_rows(there, px.view()));
  px.fetch();
  EXPECT_TRUE(close_to(x.values(), wide(expected.values()), 5e-6));
}

INSTANTIATE_TEST_SUITE_P(Devices, ActivationTwinTest, gpu_types(), case_name);

}  // namespace
}  // namespace fovea::testing
