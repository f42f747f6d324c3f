#include <gtest/gtest.h>

#include "kernels/ops/rope/rope.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class RopeTwinTest : public DeviceTest<DeviceCase> {};

TEST_P(RopeTwinTest, rotation_equals_the_cpus_wherever_positions_lie) {
  Context here = cpu_context(1), there = test_context(GetParam().device);
  Random random(7);
  for (const std::int64_t rows : {1, 5, 70}) {
    for (const auto& [heads, head_dim] :
         {std::pair<std::int64_t, std::int64_t>{1, 2}, {6, 40}, {9, 128}}) {
      const std::vector<float> values =
          rounded(random.normals(rows * heads * head_dim), GetParam().dtype);
      std::vector<std::int32_t> positions;
      for (std::int64_t row = 0; row < rows; ++row) {
        positions.push_back(static_cast<std::int32_t>(random.integer(0, 100'000)));
      }
      const Shape shape{rows, heads, head_dim};
      GuardedTensor x(shape, values, 16), again(shape, values, 16), expected(shape, values);
      ASSERT_TRUE(rope(here, expected.view(), positions, 10000.0f));
      Placed px(there, x, GetParam().dtype), pagain(there, again, GetParam().dtype);
      ASSERT_TRUE(rope(there, px.view(), positions, 10000.0f));
      const OnDevice<std::int32_t> sent(there, positions);
      const ConstTensorView places(reinterpret_cast<const std::byte*>(sent.data()), DType::i32,
                                   {rows}, there.device);
      ASSERT_TRUE(rope(there, pagain.view(), places, 10000.0f));
      px.fetch();
      pagain.fetch();
      EXPECT_TRUE(close_to(x.values(), wide(expected.values()), GetParam().tolerance));
      EXPECT_TRUE(same_bits(x.values(), again.values()));
      EXPECT_TRUE(x.guards_intact());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, RopeTwinTest, gpu_types(), case_name);

}  // namespace
}  // namespace fovea::testing
