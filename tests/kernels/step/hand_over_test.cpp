// What a recorded step leaves for the host and for the step after it.

#include <gtest/gtest.h>

#include "kernels/fetch.h"
#include "kernels/ops/step/hand_over.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class HandOverTest : public DeviceTest<DeviceCase> {
 protected:
  static Tensor placed(Context& context, std::vector<std::int32_t> numbers) {
    const Shape shape{static_cast<std::int64_t>(numbers.size())};
    auto there = Tensor::allocate(shape, DType::i32, context.device);
    EXPECT_TRUE(there && copy(context, view_of(numbers), there->view()));
    return std::move(*there);
  }
  static std::vector<std::int32_t> fetched(Context& context, const Tensor& from) {
    std::vector<std::int32_t> numbers(static_cast<std::size_t>(from.shape().elements()));
    EXPECT_TRUE(
        copy(context, from.view(),
             TensorView(reinterpret_cast<std::byte*>(numbers.data()), DType::i32, from.shape())));
    return numbers;
  }

 private:
  static ConstTensorView view_of(const std::vector<std::int32_t>& numbers) {
    return {reinterpret_cast<const std::byte*>(numbers.data()),
            DType::i32,
            {static_cast<std::int64_t>(numbers.size())}};
  }
};

TEST_P(HandOverTest, the_host_gets_every_choice_and_the_next_step_a_token) {
  Context context = test_context(GetParam().device);
  Tensor tokens = placed(context, {7, -1, 31999});
  Tensor counters = placed(context, std::vector<std::int32_t>(300, 3));
  auto outbox = Outbox::create(context, 12);
  ASSERT_TRUE(outbox) << outbox.error().to_string();
  TensorView slots = outbox->numbers();
  slots.shape = {4, 3};
  slots.row_stride = 3;
  const HandOver step{tokens.view(), counters.view(), slots};
  ASSERT_TRUE(hand_over(context, step));
  ASSERT_TRUE(hand_over(context, step));  // into the first slot again
  const auto done = Milestone::mark(context);
  ASSERT_TRUE(done && done->wait());
  EXPECT_EQ(fetched(context, tokens), (std::vector<std::int32_t>{7, 0, 31999}));
  EXPECT_EQ(fetched(context, counters), std::vector<std::int32_t>(300, 5));
  EXPECT_EQ(outbox->read(9), 7);
  EXPECT_EQ(outbox->read(10), -1);
  EXPECT_EQ(outbox->read(11), 31999);
  EXPECT_EQ(outbox->read(0), 7);
  EXPECT_EQ(outbox->read(1), 0);
}

TEST_P(HandOverTest, blocks_that_do_not_fit_are_refused) {
  Context context = test_context(GetParam().device);
  Tensor tokens = placed(context, {1, 2}), counters = placed(context, {0});
  auto outbox = Outbox::create(context, 4);
  ASSERT_TRUE(outbox);
  TensorView slots = outbox->numbers();
  EXPECT_FALSE(hand_over(context, {tokens.view(), counters.view(), slots})) << "no slots";
  slots.shape = {4, 1};
  slots.row_stride = 1;
  const Status narrow = hand_over(context, {tokens.view(), counters.view(), slots});
  ASSERT_FALSE(narrow);
  EXPECT_EQ(narrow.error().code, ErrorCode::usage);
  EXPECT_FALSE(hand_over(context, {tokens.view(), {}, slots}));
}

INSTANTIATE_TEST_SUITE_P(Devices, HandOverTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::i32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::i32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
