#include "pruning/change_points.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace fovea {
namespace {

using Rows = std::vector<std::vector<float>>;

// methods: AdaptInfer, conformance test 8.
TEST(ChangePoints, a_step_breaks_where_it_rises) {
  EXPECT_EQ(break_point(std::vector<double>{0, 0, 0, 5, 5, 5}), 3U);
}

TEST(ChangePoints, the_break_leaves_the_least_squared_distances) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> step(0, 1);
  for (int repeat = 0; repeat < 200; ++repeat) {
    std::vector<double> curve(2 + repeat % 30);
    double sum = 0;
    for (double& value : curve) value = sum += step(random);
    const auto squares = [&](std::size_t begin, std::size_t end) {
      double mean = 0, squared = 0;
      for (std::size_t i = begin; i < end; ++i) mean += curve[i] / static_cast<double>(end - begin);
      for (std::size_t i = begin; i < end; ++i) squared += (curve[i] - mean) * (curve[i] - mean);
      return squared;
    };
    const std::size_t found = break_point(curve);
    const double cost = squares(0, found) + squares(found, curve.size());
    for (std::size_t b = 1; b < curve.size(); ++b) {
      EXPECT_LE(cost, squares(0, b) + squares(b, curve.size()) + 1e-9) << b;
    }
  }
}

TEST(ChangePoints, among_equal_breaks_the_first_counts) {
  EXPECT_EQ(break_point(std::vector<double>{1, 1, 1, 1}), 1U);
  EXPECT_EQ(break_point(std::vector<double>{0, 1}), 1U);
}

// The running sum 0 0 0 5 5 5 of one token: its change point is layer 2.
TEST(ChangePoints, are_counted_at_the_layer_before_the_break) {
  ChangePoints points(6);
  ASSERT_TRUE(points.add({{0}, {0}, {0}, {5}, {0}, {0}}));
  EXPECT_EQ(points.histogram(), (std::vector<std::int64_t>{0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(points.samples(), 1);
}

TEST(ChangePoints, only_the_tenth_with_most_attention_counts) {
  // Of 20 tokens the two with the largest sums over the layers, whose attention lies in layer 1.
  Rows attention(4, std::vector<float>(20, 0.1f));
  attention[1][7] = 9;
  attention[1][13] = 8;
  attention[3][2] = 1;
  ChangePoints points(4);
  ASSERT_TRUE(points.add(attention));
  EXPECT_EQ(points.histogram(), (std::vector<std::int64_t>{2, 0, 0, 0}));
  ASSERT_TRUE(points.add(attention));
  EXPECT_EQ(points.histogram(), (std::vector<std::int64_t>{4, 0, 0, 0})) << "samples add up";
  Rows of_576(4, std::vector<float>(576, 1.0f));
  ChangePoints all(4);
  ASSERT_TRUE(all.add(of_576));
  EXPECT_EQ(all.histogram()[0] + all.histogram()[1] + all.histogram()[2], 58) << "a tenth, up";
}

TEST(ChangePoints, the_last_layer_never_has_any) {
  ChangePoints points(3);
  ASSERT_TRUE(points.add({{0}, {0}, {7}}));
  EXPECT_EQ(points.histogram().back(), 0);
}

TEST(ChangePoints, refuse_what_is_no_attention) {
  ChangePoints points(2);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Rows& wrong : {Rows{{1}}, Rows{{1}, {1}, {1}}, Rows{{}, {}}, Rows{{1, 2}, {1}},
                            Rows{{1}, {-1}}, Rows{{1}, {nan}}}) {
    const Status status = points.add(wrong);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::usage);
  }
  EXPECT_EQ(points.samples(), 0);
  EXPECT_FALSE(ChangePoints(1).add({{1}})) << "one layer has no change";
}

TEST(DensestLayers, neighbours_of_a_peak_are_passed_over) {
  // 32 layers, three cuts: more than 2 layers apart.
  std::vector<std::int64_t> histogram(32, 0);
  histogram[1] = 50;
  histogram[2] = 40;
  histogram[3] = 30;
  histogram[10] = 20;
  histogram[20] = 10;
  EXPECT_EQ(densest_layers(histogram, 3), (std::vector<int>{1, 10, 20}));
}

TEST(DensestLayers, equal_peaks_give_the_lower_layer_and_empty_layers_none) {
  EXPECT_EQ(densest_layers(std::vector<std::int64_t>{0, 5, 0, 5, 0, 5}, 2),
            (std::vector<int>{1, 3}));
  EXPECT_EQ(densest_layers(std::vector<std::int64_t>{0, 0, 3, 0}, 3), (std::vector<int>{2}));
  EXPECT_TRUE(densest_layers(std::vector<std::int64_t>{0, 0}, 3).empty());
}

}  // namespace
}  // namespace fovea
