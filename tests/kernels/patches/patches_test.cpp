#include "kernels/ops/patches/patches.h"

#include <gtest/gtest.h>

#include "support/twins.h"

namespace fovea::testing {
namespace {

class PatchesTest : public DeviceTest<DeviceCase> {};

TEST_P(PatchesTest, a_patch_holds_its_channels_one_after_another) {
  constexpr std::int64_t kChannels = 2, kSide = 6, kPatch = 3;
  std::vector<float> pixels;
  for (int i = 0; i < kChannels * kSide * kSide; ++i) pixels.push_back(static_cast<float>(i));
  std::vector<float> expected;
  for (int top = 0; top < kSide; top += kPatch) {
    for (int left = 0; left < kSide; left += kPatch) {
      for (int channel = 0; channel < kChannels; ++channel) {
        for (int y = 0; y < kPatch; ++y) {
          for (int x = 0; x < kPatch; ++x) {
            expected.push_back(static_cast<float>((channel * kSide + top + y) * kSide + left + x));
          }
        }
      }
    }
  }
  Context context = test_context(GetParam().device);
  GuardedTensor from({kChannels, kSide, kSide}, pixels), to({4, kChannels * kPatch * kPatch}, 2);
  Placed pfrom(context, from), pto(context, to, GetParam().dtype);
  ASSERT_TRUE(cut_patches(context, pfrom.view(), kPatch, pto.view()));
  pto.fetch();
  EXPECT_EQ(to.values(), expected);
  EXPECT_TRUE(to.guards_intact());
  EXPECT_FALSE(cut_patches(context, pfrom.view(), 4, pto.view()));
}

INSTANTIATE_TEST_SUITE_P(Devices, PatchesTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda_f32", DeviceKind::cuda, DType::f32, 0},
                                           DeviceCase{"cuda_bf16", DeviceKind::cuda, DType::bf16,
                                                      0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
