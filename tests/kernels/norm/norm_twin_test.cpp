#include <gtest/gtest.h>

#include "kernels/ops/norm/norm.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class NormTwinTest : public DeviceTest<DeviceCase> {
 protected:
  void check(std::int64_t rows, std::int64_t width, bool centred) {
    Random random(static_cast<std::uint64_t>(width));
    const std::vector<float> values = random.normals(rows * width, 2.0f);
    const std::vector<float> weights = random.normals(width), biases = random.normals(width);
    Context here = cpu_context(1), there = test_context(GetParam().device);
    GuardedTensor x({rows, width}, values, 4), y({rows, width}, 4), expected({rows, width});
    GuardedTensor weight({width}, weights), bias({width}, biases);
    Placed px(there, x), py(there, y, GetParam().dtype), pw(there, weight), pb(there, bias);
    if (centred) {
      ASSERT_TRUE(layer_norm(here, x.view(), weight.view(), bias.view(), 1e-5f, expected.view()));
      ASSERT_TRUE(layer_norm(there, px.view(), pw.view(), pb.view(), 1e-5f, py.view()));
    } else {
      ASSERT_TRUE(rms_norm(here, x.view(), weight.view(), 1e-5f, expected.view()));
      ASSERT_TRUE(rms_norm(there, px.view(), pw.view(), 1e-5f, py.view()));
    }
    py.fetch();
    EXPECT_TRUE(close_to(y.values(), wide(expected.values()), GetParam().tolerance));
    EXPECT_TRUE(y.guards_intact());
  }
};

TEST_P(NormTwinTest, both_norms_equal_the_cpus) {
  for (const std::int64_t width : {1, 31, 320, 1024, 4096}) {
    check(3, width, false);
    check(3, width, true);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, NormTwinTest, gpu_types(), case_name);

}  // namespace
}  // namespace fovea::testing
