#include "kernels/ops/gather/gather.h"

#include <gtest/gtest.h>

#include <cstring>

#include "support/tensors.h"

namespace fovea::testing {
namespace {

/// Rows of a table as stored, and as float32.
struct Table {
  Table(DType type, std::int64_t count, std::int64_t columns)
      : dtype(type), rows(count), width(columns) {
    Random random(1);
    wide = random.normals(rows * width, 10.0f);
    bytes.resize(wide.size() * dtype_size(dtype) + 1);
    for (std::size_t i = 0; i < wide.size(); ++i) {
      if (dtype == DType::f32) {
        std::memcpy(bytes.data() + 4 * i, &wide[i], 4);
      } else if (dtype == DType::bf16) {
        const bf16 narrow = to_bf16(wide[i]);
        std::memcpy(bytes.data() + 2 * i, &narrow, 2);
        wide[i] = to_float(narrow);
      } else {
        const f16 narrow = to_f16(wide[i]);
        std::memcpy(bytes.data() + 2 * i, &narrow, 2);
        wide[i] = to_float(narrow);
      }
    }
  }
  ConstTensorView view() const { return {bytes.data(), dtype, {rows, width}}; }

  DType dtype;
  std::int64_t rows, width;
  std::vector<float> wide;
  std::vector<std::byte> bytes;
};

class GatherTest : public ::testing::TestWithParam<DType> {};

TEST_P(GatherTest, chosen_rows_arrive_exactly) {
  for (const std::int64_t width : {1, 7, 8, 577, 4096}) {
    const Table table(GetParam(), 20, width);
    const std::vector<std::int32_t> rows = {3, 0, 19, 3, 7};
    std::vector<float> expected;
    for (const std::int32_t row : rows) {
      const float* from = table.wide.data() + row * width;
      expected.insert(expected.end(), from, from + width);
    }
    GuardedTensor to({5, width}, 3);
    Context context = cpu_context(3);
    ASSERT_TRUE(gather_rows(context, table.view(), rows, to.view()));
    EXPECT_TRUE(same_bits(to.values(), expected)) << width;
    EXPECT_TRUE(to.guards_intact());
  }
}

TEST_P(GatherTest, no_rows_is_fine) {
  const Table table(GetParam(), 2, 5);
  GuardedTensor to({0, 5});
  Context context = cpu_context(2);
  EXPECT_TRUE(gather_rows(context, table.view(), {}, to.view()));
  EXPECT_TRUE(to.guards_intact());
}

TEST_P(GatherTest, an_index_outside_the_table_is_a_usage_error) {
  const Table table(GetParam(), 4, 3);
  GuardedTensor to({2, 3});
  Context context = cpu_context(1);
  for (const std::int32_t wrong : {-1, 4, 1 << 30}) {
    const std::vector<std::int32_t> rows = {1, wrong};
    const Status status = gather_rows(context, table.view(), rows, to.view());
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::usage);
  }
}

INSTANTIATE_TEST_SUITE_P(types, GatherTest, ::testing::Values(DType::f32, DType::f16, DType::bf16),
                         [](const auto& row) { return std::string(dtype_name(row.param)); });

TEST(Merge, rows_are_weighted_sums_of_their_sources) {
  const std::int64_t width = 37;
  const Table table(DType::f32, 9, width);
  const std::vector<std::int32_t> offsets = {0, 1, 4, 4, 6};
  const std::vector<std::int32_t> sources = {8, 0, 1, 2, 5, 5};
  const std::vector<float> weights = {1.0f, 0.5f, 0.25f, -2.0f, 0.1f, 0.2f};
  std::vector<double> expected;
  for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
    for (std::int64_t c = 0; c < width; ++c) {
      double sum = 0.0;
      for (auto s = static_cast<std::size_t>(offsets[row]);
           s < static_cast<std::size_t>(offsets[row + 1]); ++s) {
        sum += static_cast<double>(weights[s]) *
               table.wide[static_cast<std::size_t>(sources[s] * width + c)];
      }
      expected.push_back(sum);
    }
  }
  GuardedTensor to({4, width}, 2);
  Context context = cpu_context(2);
  ASSERT_TRUE(merge_rows(context, table.view(), offsets, sources, weights, to.view()));
  EXPECT_TRUE(close_to(to.values(), expected, 1e-6));
  EXPECT_TRUE(to.guards_intact());
  const std::vector<float> values = to.values();
  EXPECT_TRUE(same_bits(std::span(values).first(37), std::span(table.wide).subspan(8 * 37, 37)))
      << "one source of weight 1 is a copy";
}

TEST(Merge, arguments_that_disagree_are_usage_errors) {
  const Table table(DType::f32, 4, 3);
  GuardedTensor to({2, 3});
  Context context = cpu_context(1);
  using Indices = std::vector<std::int32_t>;
  const auto fails = [&](const Indices& offsets, const Indices& sources,
                         const std::vector<float>& weights) {
    const Status status = merge_rows(context, table.view(), offsets, sources, weights, to.view());
    return !status && status.error().code == ErrorCode::usage;
  };
  EXPECT_FALSE(fails({0, 1, 2}, {0, 3}, {1, 1}));
  EXPECT_TRUE(fails({0, 1, 2}, {0, 4}, {1, 1}));
  EXPECT_TRUE(fails({0, 1, 2}, {0, -1}, {1, 1}));
  EXPECT_TRUE(fails({0, 1, 2}, {0, 3}, {1}));
  EXPECT_TRUE(fails({0, 2, 1}, {0, 3}, {1, 1}));
  EXPECT_TRUE(fails({0, 1, 3}, {0, 3}, {1, 1}));
  EXPECT_TRUE(fails({-1, 1, 2}, {0, 3}, {1, 1}));
  EXPECT_TRUE(fails({0, 1}, {0, 3}, {1, 1}));
  EXPECT_TRUE(fails({}, {0, 3}, {1, 1}));
}

}  // namespace
}  // namespace fovea::testing
