// A greedy step that chooses where the model runs gives what choosing from its logits gives.

#include <gtest/gtest.h>

#include "kernels/ops/topk/topk.h"
#include "support/small_decoder.h"
#include "support/twins.h"

namespace fovea {
namespace {

using testing::DeviceCase;
using testing::DeviceTest;
using testing::simple_layout;
using testing::SmallDecoder;
using testing::test_context;

class GreedyTest : public DeviceTest<DeviceCase> {};

TEST_P(GreedyTest, a_step_chooses_the_largest_of_its_logits) {
  const SmallDecoder model(3, {GetParam().device, 0});
  const SequenceLayout layout = simple_layout(3, 16, 5, 4);
  auto asked = model.prefill(layout, model.random_embeddings(layout, 3), {});
  auto chosen = model.prefill(layout, model.random_embeddings(layout, 3), {});
  ASSERT_TRUE(asked && chosen);
  Context context = test_context(GetParam().device);
  std::int32_t token = arg_max(asked->logits);
  for (int step = 0; step < 12; ++step) {
    const std::int32_t before = token;
    model.decode(*asked, before);
    token = arg_max(asked->logits);
    if (step % 4 == 3) {  // the other way of asking goes on from the same state
      model.decode(*chosen, before);
      EXPECT_EQ(arg_max(chosen->logits), token);
      continue;
    }
    const auto found = model.decoder().decode_greedy(context, before, chosen->state);
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_EQ(*found, token) << "step " << step;
  }
  EXPECT_EQ(chosen->state.cache.length(2), asked->state.cache.length(2));
  EXPECT_EQ(chosen->state.next_position, asked->state.next_position);
  EXPECT_FALSE(model.decoder().decode_greedy(context, 50, chosen->state)) << "no such token";
  const std::atomic<bool> stop{true};
  context.cancel = &stop;
  const auto stopped = model.decoder().decode_greedy(context, 3, chosen->state);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
}

INSTANTIATE_TEST_SUITE_P(Devices, GreedyTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         testing::case_name);

}  // namespace
}  // namespace fovea
