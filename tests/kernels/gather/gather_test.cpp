#include "kernels/ops/gather/gather.h"

#include <gtest/gtest.h>

#include "support/devices.h"

namespace fovea::testing {
namespace {

/// Rows of a table as stored, and as float32.
struct Table {
  Table(Context& where, DType type, std::int64_t count, std::int64_t columns)
      : context(where),
        dtype(type),
        rows(count),
        width(columns),
        wide(rounded(Random(1).normals(rows * width, 10.0f), dtype)),
        bytes(where, stored(wide, dtype)) {}
  ConstTensorView view() const { return {bytes.data(), dtype, {rows, width}, context.device}; }

  Context& context;
  DType dtype;
  std::int64_t rows, width;
  std::vector<float> wide;
  OnDevice<std::byte> bytes;
};

/// Rows of `from`, in the type of a table, arrive in the type of activations `to`.
struct GatherCase {
  const char* name;
  DeviceKind device;
  DType from, to;
};
void PrintTo(const GatherCase& row, std::ostream* stream) { *stream << row.name; }

class GatherTest : public DeviceTest<GatherCase> {
 protected:
  Context context() const { return test_context(GetParam().device, 3); }
};

TEST_P(GatherTest, chosen_rows_arrive_exactly) {
  Context here = context();
  for (const std::int64_t width : {1, 7, 8, 577, 4096}) {
    for (const std::int64_t padding : {3, 8}) {
      const Table table(here, GetParam().from, 20, width);
      const std::vector<std::int32_t> rows = {3, 0, 19, 3, 7};
      std::vector<float> expected;
      for (const std::int32_t row : rows) {
        const float* from = table.wide.data() + row * width;
        expected.insert(expected.end(), from, from + width);
      }
      expected = rounded(expected, GetParam().to);
      GuardedTensor to({5, width}, padding), again({5, width}, padding);
      Placed placed(here, to, GetParam().to), placed_again(here, again, GetParam().to);
      ASSERT_TRUE(gather_rows(here, table.view(), rows, placed.view()));
      placed.fetch();
      EXPECT_TRUE(same_bits(to.values(), expected)) << width;
      EXPECT_TRUE(to.guards_intact());

      const OnDevice<std::int32_t> there(here, rows);
      const ConstTensorView indices(reinterpret_cast<const std::byte*>(there.data()), DType::i32, {5},
                                    here.device);
      ASSERT_TRUE(gather_rows(here, table.view(), indices, placed_again.view()));
      placed_again.fetch();
      EXPECT_TRUE(same_bits(again.values(), expected)) << width;
    }
  }
}

TEST_P(GatherTest, no_rows_is_fine) {
  Context here = context();
  const Table table(here, GetParam().from, 2, 5);
  GuardedTensor to({0, 5});
  Placed placed(here, to, GetParam().to);
  EXPECT_TRUE(gather_rows(here, table.view(), std::span<const std::int32_t>(), placed.view()));
  placed.fetch();
  EXPECT_TRUE(to.guards_intact());
}

TEST_P(GatherTest, an_index_outside_the_table_is_a_usage_error) {
  Context here = context();
  const Table table(here, GetParam().from, 4, 3);
  GuardedTensor to({2, 3});
  Placed placed(here, to, GetParam().to);
  for (const std::int32_t wrong : {-1, 4, 1 << 30}) {
    const std::vector<std::int32_t> rows = {1, wrong};
    const Status status = gather_rows(here, table.view(), rows, placed.view());
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::usage);
  }
}

INSTANTIATE_TEST_SUITE_P(
    types, GatherTest,
    ::testing::Values(GatherCase{"cpu_f32", DeviceKind::cpu, DType::f32, DType::f32},
                      GatherCase{"cpu_f16", DeviceKind::cpu, DType::f16, DType::f32},
                      GatherCase{"cpu_bf16", DeviceKind::cpu, DType::bf16, DType::f32},
                      GatherCase{"cuda_f32", DeviceKind::cuda, DType::f32, DType::f32},
                      GatherCase{"cuda_f16", DeviceKind::cuda, DType::f16, DType::f16},
                      GatherCase{"cuda_bf16", DeviceKind::cuda, DType::bf16, DType::bf16},
                      GatherCase{"cuda_bf16_to_f32", DeviceKind::cuda, DType::bf16, DType::f32},
                      GatherCase{"cuda_f32_to_f16", DeviceKind::cuda, DType::f32, DType::f16}),
    [](const auto& row) { return std::string(row.param.name); });

class MergeTest : public DeviceTest<DeviceCase> {};

TEST_P(MergeTest, rows_are_weighted_sums_of_their_sources) {
  Context here = test_context(GetParam().device, 2);
  const std::int64_t width = 37;
  const Table table(here, GetParam().dtype, 9, width);
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
  Placed placed(here, to, GetParam().dtype);
  ASSERT_TRUE(merge_rows(here, table.view(), offsets, sources, weights, placed.view()));
  placed.fetch();
  EXPECT_TRUE(close_to(to.values(), expected, GetParam().tolerance));
  EXPECT_TRUE(to.guards_intact());
  const std::vector<float> values = to.values();
  EXPECT_TRUE(same_bits(std::span(values).first(37), std::span(table.wide).subspan(8 * 37, 37)))
      << "one source of weight 1 is a copy";
}

INSTANTIATE_TEST_SUITE_P(devices, MergeTest,
                         ::testing::Values(DeviceCase{"cpu_f32", DeviceKind::cpu, DType::f32, 1e-6},
                                           DeviceCase{"cuda_f32", DeviceKind::cuda, DType::f32, 1e-6},
                                           DeviceCase{"cuda_f16", DeviceKind::cuda, DType::f16, 5e-4},
                                           DeviceCase{"cuda_bf16", DeviceKind::cuda, DType::bf16, 4e-3}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Merge, arguments_that_disagree_are_usage_errors) {
  Context context = cpu_context(1);
  const Table table(context, DType::f32, 4, 3);
  GuardedTensor to({2, 3});
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
