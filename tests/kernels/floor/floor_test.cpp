#include "kernels/ops/floor/floor.h"

#include <gtest/gtest.h>

#include <vector>

namespace fovea {
namespace {

TEST(Floor, is_the_sum_of_the_faster_product_of_every_shape) {
  Context context;
  context.threads = 2;
  const std::vector<ProductShape> shapes = {{1, 64, 96, 3}, {40, 33, 50, 1}};
  for (const LinearDType dtype : {LinearDType::f32, LinearDType::bf16}) {
    const auto report = measure_products_floor(context, shapes, dtype);
    ASSERT_TRUE(report) << report.error().to_string();
    ASSERT_EQ(report->products.size(), shapes.size());
    double sum = 0;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      const ProductFloor& product = report->products[i];
      EXPECT_EQ(product.shape.outputs, shapes[i].outputs);
      EXPECT_GT(product.seconds, 0);
      EXPECT_LE(product.seconds, product.own_seconds);
      if (product.library_seconds > 0) {
        EXPECT_LE(product.seconds, product.library_seconds);
      }
      sum += product.seconds * static_cast<double>(shapes[i].count);
    }
    EXPECT_DOUBLE_EQ(report->seconds, sum);
    EXPECT_FALSE(report->product.empty());
  }
}

TEST(Floor, refuses_shapes_without_size) {
  Context context;
  const std::vector<ProductShape> shapes = {{1, 0, 96, 3}};
  const auto report = measure_products_floor(context, shapes, LinearDType::f32);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::usage);
}

TEST(Floor, read_bandwidth_is_that_of_a_memory) {
  Context context;
  context.threads = 2;
  const auto bandwidth = measure_read_bandwidth(context);
  ASSERT_TRUE(bandwidth) << bandwidth.error().to_string();
  EXPECT_GT(*bandwidth, 1e8);  // no machine is slower than 0.1 GB/s, or faster than 100 TB/s
  EXPECT_LT(*bandwidth, 1e14);
}

}  // namespace
}  // namespace fovea
