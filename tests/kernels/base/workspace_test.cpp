#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernels/context.h"
#include "support/tensors.h"

namespace fovea {
namespace {

TensorView take_filled(Workspace& workspace, std::int64_t bytes, int value) {
  auto view = workspace.take({bytes}, DType::u8);
  EXPECT_TRUE(view);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view->data) % 64, 0u);
  std::memset(view->data, value, static_cast<std::size_t>(bytes));
  return *view;
}

bool holds(TensorView view, int value) {
  for (std::int64_t i = 0; i < view.shape[0]; ++i) {
    if (view.as<std::uint8_t>()[i] != value) return false;
  }
  return true;
}

TEST(workspace, views_stay_valid_while_it_grows) {
  Workspace workspace;
  std::vector<TensorView> views;
  for (int i = 0; i < 40; ++i) views.push_back(take_filled(workspace, 300'001, i));
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(holds(views[static_cast<std::size_t>(i)], i)) << i;
}

TEST(workspace, the_end_of_a_scope_gives_back_only_what_was_taken_in_it) {
  Workspace workspace;
  const TensorView outer = take_filled(workspace, 1000, 1);
  std::byte* inner_address = nullptr;
  {
    const Workspace::Scope scope(workspace);
    inner_address = take_filled(workspace, 500, 2).data;
    {
      const Workspace::Scope nested(workspace);
      take_filled(workspace, 5'000'000, 3);
    }
    const TensorView again = take_filled(workspace, 700, 4);
    EXPECT_TRUE(holds(outer, 1));
    EXPECT_TRUE(holds(again, 4));
  }
  const TensorView next = take_filled(workspace, 500, 5);
  EXPECT_EQ(next.data, inner_address);
  EXPECT_TRUE(holds(outer, 1));
}

TEST(workspace, a_second_identical_pass_takes_the_same_places_and_allocates_nothing) {
  Workspace workspace;
  const auto pass = [&] {
    std::vector<std::byte*> places;
    testing::Random random(7);
    const Workspace::Scope scope(workspace);
    for (int layer = 0; layer < 30; ++layer) {
      const Workspace::Scope inner(workspace);
      for (int i = 0; i < 5; ++i) {
        places.push_back(take_filled(workspace, random.integer(1, 3'000'000), layer).data);
      }
      if (layer % 7 == 0) places.push_back(take_filled(workspace, 9'000'000, layer).data);
    }
    return places;
  };
  const auto first = pass();
  const std::size_t reserved = workspace.reserved_bytes();
  EXPECT_EQ(pass(), first);
  EXPECT_EQ(workspace.reserved_bytes(), reserved);
}

TEST(workspace, growth_is_geometric_so_that_blocks_stay_few) {
  Workspace workspace;
  std::size_t allocations = 0;
  std::size_t reserved = 0;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(workspace.take({64 << 10}, DType::u8));
    if (workspace.reserved_bytes() != reserved) ++allocations;
    reserved = workspace.reserved_bytes();
  }
  EXPECT_LE(allocations, 8u);  // 64 MB in blocks of 1, 1, 2, 4, 8, 16, 32 MiB
  EXPECT_LE(reserved, 2u * 1000 * (64 << 10));
}

TEST(workspace, empty_blocks_are_given_and_absurd_ones_refused) {
  Workspace workspace;
  const auto nothing = workspace.take({0, 5}, DType::f32);
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->empty());
  const std::int64_t huge = std::int64_t{1} << 62;
  for (const Shape shape : {Shape{huge, huge}, Shape{huge}, Shape{-3}, Shape{huge / 8, 7}}) {
    const auto refused = workspace.take(shape, DType::f32);
    ASSERT_FALSE(refused) << shape.to_string();
    EXPECT_EQ(refused.error().code, ErrorCode::out_of_memory);
  }
}

}  // namespace
}  // namespace fovea
