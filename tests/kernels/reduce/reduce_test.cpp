#include "kernels/ops/reduce/reduce.h"

#include <gtest/gtest.h>

#include "kernels/ops/topk/topk.h"
#include "support/devices.h"

namespace fovea::testing {
namespace {

class ReduceTest : public DeviceTest<DeviceCase> {
 protected:
  Context context() const { return test_context(GetParam().device, 2); }

  /// top_k_indices() on the device equals the choice from the same scores on the host.
  static void expect_choice(Context& context, const std::vector<float>& scores, std::int64_t k) {
    const auto count = static_cast<std::int64_t>(scores.size());
    const OnDevice<float> there(context, scores);
    Result<Tensor> chosen = Tensor::allocate({k}, DType::i32, context.device);
    ASSERT_TRUE(chosen);
    const ConstTensorView view(reinterpret_cast<const std::byte*>(there.data()), DType::f32, {count},
                               context.device);
    const Status status = top_k_indices(context, view, chosen->view());
    ASSERT_TRUE(status) << status.error().to_string();
    std::vector<std::int32_t> indices(static_cast<std::size_t>(k), -1);
    ASSERT_TRUE(copy(context, chosen->view(),
                     TensorView(reinterpret_cast<std::byte*>(indices.data()), DType::i32, {k})));
    EXPECT_EQ(indices, top_k_ascending(scores, k));
  }
};

TEST_P(ReduceTest, the_best_are_chosen_with_ties_and_nan) {
  Context here = context();
  Random random(1);
  for (int round = 0; round < 40; ++round) {
    std::vector<float> scores(static_cast<std::size_t>(random.integer(1, 3000)));
    const bool ties = round % 2 == 0;
    for (float& score : scores) {
      score = ties ? static_cast<float>(random.integer(-3, 3)) : random.normal();
      if (random.integer(0, 19) == 0) score = std::numeric_limits<float>::quiet_NaN();
      if (random.integer(0, 49) == 0) score = random.integer(0, 1) == 0 ? -0.0f : 0.0f;
      if (random.integer(0, 99) == 0) score = -std::numeric_limits<float>::infinity();
    }
    expect_choice(here, scores, random.integer(0, static_cast<std::int64_t>(scores.size())));
    expect_choice(here, scores, static_cast<std::int64_t>(scores.size()));
  }
}

TEST_P(ReduceTest, the_best_of_many_are_chosen) {
  Context here = context();
  Random random(2);
  expect_choice(here, random.normals(18'000), 900);
}

TEST_P(ReduceTest, affinity_counts_both_directions_and_the_diagonal_once) {
  Context here = context();
  Random random(3);
  for (const std::int64_t n : {1, 5, 31, 32, 33, 576}) {
    const std::int64_t heads = 3;
    // Probabilities have no sign: a sum of them does not cancel, so its relative error is small.
    std::vector<float> p = random.normals(heads * n * n);
    for (float& value : p) value = std::abs(value);
    std::vector<double> expected;
    for (std::int64_t h = 0; h < heads; ++h) {
      const float* tile = p.data() + h * n * n;
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = -tile[j * n + j];
        for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(tile[i * n + j]) + tile[j * n + i];
        expected.push_back(sum);
      }
    }
    GuardedTensor tile({heads, n, n}, p, 3), out({heads, n}, 2);
    Placed placed_tile(here, tile), placed_out(here, out);
    ASSERT_TRUE(affinity_sums(here, placed_tile.view(), placed_out.view()));
    placed_out.fetch();
    EXPECT_TRUE(close_to(out.values(), expected, 2e-5)) << n;
    EXPECT_TRUE(out.guards_intact());
  }
}

TEST_P(ReduceTest, norms_are_the_lengths_of_each_head) {
  Context here = context();
  Random random(4);
  const std::int64_t rows = 37, heads = 3;
  const DType type = GetParam().device == DeviceKind::cpu ? DType::f32 : GetParam().dtype;
  for (const std::int64_t channels : {1, 33, 64}) {
    const std::vector<float> values = rounded(random.normals(rows * heads * channels, 3.0f), type);
    std::vector<double> expected;
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t r = 0; r < rows; ++r) {
        double squares = 0;
        for (std::int64_t c = 0; c < channels; ++c) {
          const double value = values[static_cast<std::size_t>((r * heads + h) * channels + c)];
          squares += value * value;
        }
        expected.push_back(std::sqrt(squares));
      }
    }
    GuardedTensor x({rows, heads, channels}, values, 5), norms({heads, rows}, 1);
    Placed placed_x(here, x, type), placed_norms(here, norms);
    ASSERT_TRUE(channel_norms(here, placed_x.view(), placed_norms.view()));
    placed_norms.fetch();
    EXPECT_TRUE(close_to(norms.values(), expected, 1e-6)) << channels;
    EXPECT_TRUE(norms.guards_intact());
  }
}

TEST_P(ReduceTest, shapes_that_do_not_fit_are_usage_errors) {
  Context here = context();
  GuardedTensor tile({2, 3, 4}), out({2, 3}), scores({3}), norms({2, 3});
  Placed placed_tile(here, tile), placed_out(here, out), placed_scores(here, scores);
  Placed placed_norms(here, norms);
  EXPECT_FALSE(affinity_sums(here, placed_tile.view(), placed_out.view()));
  EXPECT_FALSE(top_k_indices(here, placed_scores.view(), placed_scores.view()));
  EXPECT_FALSE(channel_norms(here, placed_tile.view(), placed_norms.view()));
}

INSTANTIATE_TEST_SUITE_P(devices, ReduceTest,
                         ::testing::Values(DeviceCase{"cpu_f32", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda_f32", DeviceKind::cuda, DType::f32, 0},
                                           DeviceCase{"cuda_f16", DeviceKind::cuda, DType::f16, 0},
                                           DeviceCase{"cuda_bf16", DeviceKind::cuda, DType::bf16, 0}),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace fovea::testing
