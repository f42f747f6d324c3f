#include "kernels/ops/similarity/similarity.h"

#include <gtest/gtest.h>

#include "support/devices.h"
#include "support/numbers.h"

namespace fovea::testing {
namespace {

std::vector<double> expected_products(const std::vector<float>& a, const std::vector<float>& b,
                                      std::int64_t n, std::int64_t m, std::int64_t width) {
  std::vector<double> products;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < m; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < width; ++k) {
        sum += static_cast<double>(a[static_cast<std::size_t>(i * width + k)]) *
               b[static_cast<std::size_t>(j * width + k)];
      }
      products.push_back(sum);
    }
  }
  return products;
}

class Similarity : public DeviceTest<DeviceCase> {
 protected:
  Context context(int threads) const { return test_context(GetParam().device, threads); }
};

TEST_P(Similarity, products_equal_double_in_every_shape_of_tile) {
  Random random(1);
  for (const std::int64_t n : {0, 1, 3, 4, 9}) {
    for (const std::int64_t m : {1, 2, 5, 40}) {
      for (const std::int64_t width : {1, 7, 64, 577}) {
        const std::vector<float> a = random.normals(n * width), b = random.normals(m * width);
        GuardedTensor left({n, width}, a, 3), right({m, width}, b, 1), out({n, m}, 2);
        Context here = context(2);
        Placed placed_left(here, left), placed_right(here, right), placed_out(here, out);
        ASSERT_TRUE(row_products(here, placed_left.view(), placed_right.view(), placed_out.view()));
        placed_out.fetch();
        EXPECT_TRUE(close_to(out.values(), expected_products(a, b, n, m, width), GetParam().tolerance))
            << n << " x " << m << " x " << width;
        EXPECT_TRUE(out.guards_intact());
      }
    }
  }
}

TEST_P(Similarity, a_product_has_the_same_bits_alone_exchanged_and_on_any_number_of_threads) {
  Random random(2);
  const std::int64_t n = 33, width = 131;
  GuardedTensor x({n, width}, random.normals(n * width));
  GuardedTensor all({n, n}), again({n, n}), row({1, n});
  Context one = context(1), three = context(3);
  Placed placed_x(one, x), placed_all(one, all), placed_again(three, again);
  ASSERT_TRUE(row_products(one, placed_x.view(), placed_x.view(), placed_all.view()));
  ASSERT_TRUE(row_products(three, placed_x.view(), placed_x.view(), placed_again.view()));
  placed_all.fetch();
  placed_again.fetch();
  EXPECT_TRUE(same_bits(all.values(), again.values()));
  const std::vector<float> values = all.values();
  for (std::int64_t i = 0; i < n; ++i) {
    Placed placed_row(one, row);
    ASSERT_TRUE(row_products(one, placed_x.view().slice(i, 1), placed_x.view(), placed_row.view()));
    placed_row.fetch();
    const std::span<const float> expected(values.data() + i * n, static_cast<std::size_t>(n));
    EXPECT_TRUE(same_bits(row.values(), expected));
    for (std::int64_t j = 0; j < n; ++j) {
      EXPECT_EQ(values[static_cast<std::size_t>(i * n + j)],
                values[static_cast<std::size_t>(j * n + i)]);
    }
  }
}

TEST_P(Similarity, normalised_rows_have_length_1_and_zeros_stay_zeros) {
  GuardedTensor x({3, 2}, {3, 4, 0, 0, -1e-30f, 0});
  Context here = context(1);
  Placed placed(here, x);
  ASSERT_TRUE(normalize_rows(here, placed.view(), placed.view()));
  placed.fetch();
  EXPECT_TRUE(close_to(x.values(), std::vector<double>{.6, .8, 0, 0, -1, 0}, 1e-6));
}

TEST_P(Similarity, shapes_that_do_not_fit_are_refused) {
  GuardedTensor a({2, 3}), b({4, 5}), out({2, 4}), c({4, 3}), small({2, 3});
  Context here = context(1);
  Placed there_a(here, a), there_b(here, b), there_out(here, out), there_c(here, c), there_small(here, small);
  EXPECT_FALSE(row_products(here, there_a.view(), there_b.view(), there_out.view()));
  EXPECT_FALSE(row_products(here, there_a.view(), there_c.view(), there_small.view()));
  EXPECT_FALSE(normalize_rows(here, there_a.view(), there_b.view()));
}

TEST_P(Similarity, rows_far_from_each_other_are_those_that_the_host_finds) {
  Context there = context(1), here;
  for (const std::int64_t n : {1, 70, 130}) {
    Random random(static_cast<std::uint64_t>(n));
    constexpr std::int64_t kWidth = 1153;
    std::vector<float> values = random.normals(n * kWidth);
    if (n > 3) std::copy_n(values.begin(), kWidth, values.begin() + 2 * kWidth);  // twins
    for (const std::int64_t k : {std::int64_t{1}, (n + 3) / 4, n}) {
      const auto chosen = [&](Context& context) {
        Scores x(context, values);
        Numbers indices(context, std::vector<std::int32_t>(static_cast<std::size_t>(k), -1));
        EXPECT_TRUE(normalize_rows(context, x.matrix(n), x.matrix(n)));
        EXPECT_TRUE(farthest_rows(context, x.matrix(n), indices.view()));
        return indices.fetch();
      };
      EXPECT_EQ(chosen(there), chosen(here)) << k << " of " << n;
    }
  }
}

TEST_P(Similarity, heads_are_averaged_in_their_order) {
  Context here = context(1);
  const std::vector<float> values = Random(12).normals(std::int64_t{37} * 6 * 20);
  Scores x(here, values), mean(here, std::vector<float>(37 * 20, 0.0f));
  TensorView heads = x.view();
  heads = TensorView(heads.data, DType::f32, Shape{37, 6, 20}, heads.device);
  ASSERT_TRUE(head_means(here, heads, mean.matrix(37)));
  std::vector<float> expected;
  for (std::size_t row = 0; row < 37; ++row) {
    for (std::size_t c = 0; c < 20; ++c) {
      float sum = 0;
      for (std::size_t head = 0; head < 6; ++head) sum += values[(row * 6 + head) * 20 + c];
      expected.push_back(sum / 6.0f);
    }
  }
  EXPECT_EQ(mean.fetch(), expected);
}

INSTANTIATE_TEST_SUITE_P(devices, Similarity,
                         ::testing::Values(DeviceCase{"cpu_f32", DeviceKind::cpu, DType::f32, 2e-5},
                                           DeviceCase{"cuda_f32", DeviceKind::cuda, DType::f32, 2e-5}),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace fovea::testing
