#include "kernels/ops/rows/rows.h"

#include <gtest/gtest.h>

#include "support/twins.h"

namespace fovea::testing {
namespace {

class RowsTest : public DeviceTest<DeviceCase> {};

TEST_P(RowsTest, columns_are_gathered_from_every_row) {
  Context context = test_context(GetParam().device);
  GuardedTensor from({2, 5}, {0, 1, 2, 3, 4, 10, 11, 12, 13, 14}, 3), to({2, 3}, 2);
  Placed pfrom(context, from), pto(context, to);
  ASSERT_TRUE(gather_columns(context, pfrom.view(), std::array{4, 0, 4}, pto.view()));
  pto.fetch();
  EXPECT_EQ(to.values(), (std::vector<float>{4, 0, 4, 14, 10, 14}));
  EXPECT_TRUE(to.guards_intact());
  EXPECT_FALSE(gather_columns(context, pfrom.view(), std::array{5, 0, 4}, pto.view()));
}

TEST_P(RowsTest, rows_are_put_where_they_belong_and_the_others_stay) {
  Context context = test_context(GetParam().device);
  GuardedTensor from({2, 3}, {1, 2, 3, 4, 5, 6}), to({4, 3}, std::vector<float>(12, 9.0f), 1);
  Placed pfrom(context, from), pto(context, to);
  ASSERT_TRUE(scatter_rows(context, pfrom.view(), std::array{3, 1}, pto.view()));
  pto.fetch();
  EXPECT_EQ(to.values(), (std::vector<float>{9, 9, 9, 4, 5, 6, 9, 9, 9, 1, 2, 3}));
  EXPECT_TRUE(to.guards_intact());
  EXPECT_FALSE(scatter_rows(context, pfrom.view(), std::array{-1, 1}, pto.view()));
}

TEST_P(RowsTest, the_largest_is_the_first_among_equals) {
  Context context = test_context(GetParam().device);
  Random random(2);
  std::vector<float> values = random.normals(32064);
  values[31999] = values[17] = values[4096] = 50.0f;
  GuardedTensor block({1, 32064}, values);
  Placed placed(context, block);
  const auto found = largest_index(context, placed.view());
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(*found, 17);
}

TEST_P(RowsTest, the_largest_can_stay_where_it_was_found) {
  Context context = test_context(GetParam().device);
  const auto largest = [&](std::vector<float> values) {
    const auto count = static_cast<std::int64_t>(values.size());
    GuardedTensor block({1, count}, values);
    Placed placed(context, block);
    auto room = Tensor::allocate({1}, DType::i32, context.device);
    EXPECT_TRUE(room && largest_index(context, placed.view(), room->view()));
    std::int32_t found = -2;
    EXPECT_TRUE(copy(context, std::as_const(*room).view(),
                     TensorView(reinterpret_cast<std::byte*>(&found), DType::i32, {1})));
    EXPECT_FALSE(largest_index(context, placed.view(), placed.view())) << "no room for an index";
    return found;
  };
  EXPECT_EQ(largest({1, 7, -3, 7}), 1);
  EXPECT_EQ(largest({-1}), 0);
  EXPECT_EQ(largest({-1, -0.0f, 0.0f}), 1) << "zeros of either sign are equals";
  EXPECT_EQ(largest({1, std::numeric_limits<float>::quiet_NaN()}), -1);
  EXPECT_EQ(largest({1, std::numeric_limits<float>::infinity()}), -1);
}

TEST_P(RowsTest, every_row_has_a_largest_of_its_own_and_none_is_no_row_to_gather) {
  Context context = test_context(GetParam().device);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  GuardedTensor block({4, 3}, {1, 7, 7, -1, -2, -3, 1, nan, 2, 0, 0, 9}, 5);
  Placed placed(context, block);
  auto choices = Tensor::allocate({4}, DType::i32, context.device);
  auto tokens = Tensor::allocate({4}, DType::i32, context.device);
  ASSERT_TRUE(choices && tokens);
  ASSERT_TRUE(largest_index(context, placed.view(), choices->view()));
  ASSERT_TRUE(next_tokens(context, std::as_const(*choices).view(), tokens->view()));
  const auto fetched = [&](const Tensor& numbers) {
    std::vector<std::int32_t> here(4);
    EXPECT_TRUE(copy(context, numbers.view(),
                     TensorView(reinterpret_cast<std::byte*>(here.data()), DType::i32, {4})));
    return here;
  };
  EXPECT_EQ(fetched(*choices), (std::vector<std::int32_t>{1, 0, -1, 2}));
  EXPECT_EQ(fetched(*tokens), (std::vector<std::int32_t>{1, 0, 0, 2}));
  EXPECT_FALSE(largest_index(context, placed.view(), choices->view().slice(0, 3)));
  EXPECT_FALSE(next_tokens(context, std::as_const(*choices).view(), tokens->view().slice(0, 3)));
}

TEST_P(RowsTest, what_a_sampler_would_refuse_has_no_largest) {
  Context context = test_context(GetParam().device);
  const float infinity = std::numeric_limits<float>::infinity();
  const auto largest = [&](std::vector<float> values) {
    const auto count = static_cast<std::int64_t>(values.size());
    GuardedTensor block({count}, values);
    Placed placed(context, block);
    return largest_index(context, placed.view());
  };
  EXPECT_FALSE(largest({1, std::numeric_limits<float>::quiet_NaN(), 2}));
  EXPECT_FALSE(largest({1, infinity, 2}));
  EXPECT_FALSE(largest({-infinity, -infinity}));
  const auto found = largest({-infinity, -7, -infinity});
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, 1);
}

INSTANTIATE_TEST_SUITE_P(Devices, RowsTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
