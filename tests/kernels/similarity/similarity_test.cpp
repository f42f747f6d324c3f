#include "kernels/ops/similarity/similarity.h"

#include <gtest/gtest.h>

#include "support/tensors.h"

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

TEST(Similarity, products_equal_double_in_every_shape_of_tile) {
  Random random(1);
  for (const std::int64_t n : {0, 1, 3, 4, 9}) {
    for (const std::int64_t m : {1, 2, 5, 40}) {
      for (const std::int64_t width : {1, 7, 64, 577}) {
        const std::vector<float> a = random.normals(n * width), b = random.normals(m * width);
        GuardedTensor left({n, width}, a, 3), right({m, width}, b, 1), out({n, m}, 2);
        Context context = cpu_context(2);
        ASSERT_TRUE(row_products(context, left.view(), right.view(), out.view()));
        EXPECT_TRUE(close_to(out.values(), expected_products(a, b, n, m, width), 2e-5))
            << n << " x " << m << " x " << width;
        EXPECT_TRUE(out.guards_intact());
      }
    }
  }
}

TEST(Similarity, a_product_has_the_same_bits_alone_exchanged_and_on_any_number_of_threads) {
  Random random(2);
  const std::int64_t n = 33, width = 131;
  GuardedTensor x({n, width}, random.normals(n * width));
  GuardedTensor all({n, n}), again({n, n}), row({1, n});
  Context one = cpu_context(1), three = cpu_context(3);
  ASSERT_TRUE(row_products(one, x.view(), x.view(), all.view()));
  ASSERT_TRUE(row_products(three, x.view(), x.view(), again.view()));
  EXPECT_TRUE(same_bits(all.values(), again.values()));
  const std::vector<float> values = all.values();
  for (std::int64_t i = 0; i < n; ++i) {
    ASSERT_TRUE(row_products(one, x.view().slice(i, 1), x.view(), row.view()));
    const std::span<const float> expected(values.data() + i * n, static_cast<std::size_t>(n));
    EXPECT_TRUE(same_bits(row.values(), expected));
    for (std::int64_t j = 0; j < n; ++j) {
      EXPECT_EQ(values[static_cast<std::size_t>(i * n + j)],
                values[static_cast<std::size_t>(j * n + i)]);
    }
  }
}

TEST(Similarity, normalised_rows_have_length_1_and_zeros_stay_zeros) {
  GuardedTensor x({3, 2}, {3, 4, 0, 0, -1e-30f, 0});
  Context context = cpu_context(1);
  ASSERT_TRUE(normalize_rows(context, x.view(), x.view()));
  EXPECT_TRUE(close_to(x.values(), std::vector<double>{.6, .8, 0, 0, -1, 0}, 1e-6));
}

TEST(Similarity, shapes_that_do_not_fit_are_refused) {
  GuardedTensor a({2, 3}), b({4, 5}), out({2, 4});
  Context context = cpu_context(1);
  EXPECT_FALSE(row_products(context, a.view(), b.view(), out.view()));
  GuardedTensor c({4, 3}), small({2, 3});
  EXPECT_FALSE(row_products(context, a.view(), c.view(), small.view()));
  EXPECT_FALSE(normalize_rows(context, a.view(), b.view()));
}

}  // namespace
}  // namespace fovea::testing
