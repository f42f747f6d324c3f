#include "kernels/ops/draw/draw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "support/devices.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class DrawTest : public DeviceTest<DeviceCase> {
 protected:
  Context context() const { return test_context(GetParam().device); }

  /// One index a row of `logits`, which has a row for each of `draws`.
  static std::vector<std::int32_t> drawn(Context& context, const std::vector<float>& logits,
                                         const std::vector<Draw>& draws) {
    const auto rows = static_cast<std::int64_t>(draws.size());
    const std::int64_t n = static_cast<std::int64_t>(logits.size()) / rows;
    const OnDevice<float> values(context, logits);
    const OnDevice<Draw> how(context, draws);
    Result<Tensor> indices = Tensor::allocate({rows}, DType::i32, context.device);
    EXPECT_TRUE(indices);
    const Status status = draw_indices(
        context,
        {reinterpret_cast<const std::byte*>(values.data()), DType::f32, {rows, n}, context.device},
        {reinterpret_cast<const std::byte*>(how.data()), DType::u8,
         {rows, static_cast<std::int64_t>(sizeof(Draw))}, context.device},
        indices->view());
    EXPECT_TRUE(status) << status.error().to_string();
    std::vector<std::int32_t> found(draws.size(), -7);
    EXPECT_TRUE(copy(context, indices->view(),
                     TensorView(reinterpret_cast<std::byte*>(found.data()), DType::i32, {rows})));
    return found;
  }
};

/// From which to which uniform number each index of one row is drawn, in long double; absent: never.
std::vector<std::optional<std::pair<double, double>>> intervals(std::span<const float> logits,
                                                               const Draw& draw) {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (draw.top_p < 1.0) {
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  }
  const float largest = *std::max_element(logits.begin(), logits.end());
  std::vector<long double> mass;
  for (const float logit : logits) {
    mass.push_back(std::exp((static_cast<long double>(logit) - largest) / draw.temperature));
  }
  const long double total = std::accumulate(mass.begin(), mass.end(), 0.0L);
  long double kept = 0;
  std::size_t count = 0;
  while (count < order.size() && (draw.top_p == 1.0 || kept < draw.top_p * total)) {
    kept += mass[order[count++]];
  }
  std::vector<std::optional<std::pair<double, double>>> found(logits.size());
  long double reached = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const long double begin = reached;
    reached += mass[order[i]];
    found[order[i]] = {static_cast<double>(begin / kept), static_cast<double>(reached / kept)};
  }
  return found;
}

TEST_P(DrawTest, an_index_owns_its_share_of_the_nucleus) {
  Context here = context();
  Random random(1);
  for (const int n : {1, 2, 31, 320, 1023, 1025, 5000}) {
    for (const double top_p : {1.0, 0.9, 0.3, 0.001}) {
      for (const double temperature : {0.1, 1.0, 3.0}) {
        std::vector<float> logits = random.normals(n);
        for (float& logit : logits) logit *= 4.0f;
        if (n > 2) logits[1] = -kInfinity;
        const Draw draw{temperature, top_p, random.uniform(0.0f, 1.0f)};
        const auto shares = intervals(logits, draw);
        const std::int32_t index = drawn(here, logits, {draw})[0];
        ASSERT_TRUE(index >= 0 && index < n);
        const auto& share = shares[static_cast<std::size_t>(index)];
        ASSERT_TRUE(share) << index << " is not in the nucleus of " << top_p;
        // Masses are rounded to 2^-42 of the largest.
        EXPECT_GE(draw.uniform, share->first - 1e-8);
        EXPECT_LE(draw.uniform, share->second + 1e-8);
      }
    }
  }
}

TEST_P(DrawTest, every_device_draws_what_the_host_draws) {
  Context here = context();
  Random random(2);
  DrawScratch scratch;
  for (const int n : {1, 255, 4097, 32'000, 152'064}) {
    std::vector<float> logits;
    std::vector<Draw> draws;
    for (const double temperature : {0.0, 0.2, 1.0, 100.0}) {
      for (const double top_p : {1.0, 0.95, 0.5, 0.01}) {
        for (float logit : random.normals(n)) {
          // Some rows are full of equal logits.
          logits.push_back(draws.size() % 2 == 0 ? 3.0f * logit : std::round(logit));
        }
        draws.push_back({temperature, top_p, random.uniform(0.0f, 1.0f)});
      }
    }
    std::vector<std::int32_t> expected;
    for (std::size_t row = 0; row < draws.size(); ++row) {
      const auto size = static_cast<std::size_t>(n);
      expected.push_back(draw_index(std::span(logits).subspan(row * size, size), draws[row], scratch));
    }
    EXPECT_EQ(drawn(here, logits, draws), expected) << n << " logits";
  }
}

TEST_P(DrawTest, equals_come_by_index_and_the_ends_of_the_uniform_numbers_count) {
  Context here = context();
  const std::vector<float> four(16, 0.25f);  // four rows of equals
  const double last = 1.0 - 0x1p-53;
  EXPECT_EQ(drawn(here, four, {{1, 1, 0}, {1, 1, last}, {1, 0.5, 0.5}, {1, 0.5, last}}),
            (std::vector<std::int32_t>{0, 3, 1, 1}));
  EXPECT_EQ(drawn(here, four, {{1, 0.5, 0}, {1, 0.25, 0.7}, {1e-300, 1, 0.8}, {0, 1, 0.9}}),
            (std::vector<std::int32_t>{0, 0, 3, 0}));
}

TEST_P(DrawTest, rows_from_which_nothing_can_be_drawn_have_no_index) {
  Context here = context();
  const float nan = std::nanf("");
  const std::vector<float> logits{0,          nan,        1,  0, kInfinity, 1,  -kInfinity, -kInfinity,
                                  -kInfinity, -kInfinity, -5, 0, 2,         -1, 4};
  for (const double temperature : {0.0, 1.0}) {
    const Draw draw{temperature, 0.1, 0.5};
    EXPECT_EQ(drawn(here, logits, {draw, draw, draw, draw, draw}),
              (std::vector<std::int32_t>{-1, -1, -1, 2, 2}));
  }
}

TEST_P(DrawTest, blocks_of_the_wrong_form_are_refused) {
  Context here = context();
  const OnDevice<float> values(here, std::vector<float>(6));
  const OnDevice<Draw> how(here, std::vector<Draw>(2));
  Result<Tensor> indices = Tensor::allocate({2}, DType::i32, here.device);
  ASSERT_TRUE(indices);
  const auto logits = [&](Shape shape) {
    return ConstTensorView(reinterpret_cast<const std::byte*>(values.data()), DType::f32, shape,
                           here.device);
  };
  const auto draws = [&](std::int64_t rows) {
    return ConstTensorView(reinterpret_cast<const std::byte*>(how.data()), DType::u8,
                           {rows, static_cast<std::int64_t>(sizeof(Draw))}, here.device);
  };
  for (const Status& refused : {draw_indices(here, logits({6}), draws(2), indices->view()),
                                draw_indices(here, logits({2, 0}), draws(2), indices->view()),
                                draw_indices(here, logits({2, 3}), draws(1), indices->view()),
                                draw_indices(here, logits({1, 3}), draws(1), indices->view())}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::usage);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, DrawTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
