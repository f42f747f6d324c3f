#include "vision/nmi_plot.h"

#include <gtest/gtest.h>

#include <array>

namespace fovea {
namespace {

/// Pixels of exactly this colour.
std::int64_t count(const Image& image, const std::array<std::uint8_t, 3>& color) {
  std::int64_t pixels = 0;
  for (std::size_t i = 0; i + 2 < image.rgb.size(); i += 3) {
    pixels +=
        image.rgb[i] == color[0] && image.rgb[i + 1] == color[1] && image.rgb[i + 2] == color[2];
  }
  return pixels;
}

constexpr std::array<std::uint8_t, 3> kHead{150, 175, 215}, kMean{190, 70, 30};

TEST(NmiPlot, means_and_heads_are_drawn) {
  const auto one = draw_nmi_plot({{.02, .20}}, {});
  ASSERT_TRUE(one) << one.error().to_string();
  EXPECT_GT(count(*one, kHead), 50);
  EXPECT_GT(count(*one, kMean), 50);
  const auto more = draw_nmi_plot({{.02, .20}, {.1, .1}, {.3, .05}}, {});
  ASSERT_TRUE(more);
  EXPECT_GT(count(*more, kMean), count(*one, kMean));
}

TEST(NmiPlot, extreme_values_and_many_layers_fit) {
  EXPECT_TRUE(draw_nmi_plot({{0.0}}, {.local_above = 0, .global_below = 0}));
  EXPECT_TRUE(draw_nmi_plot(std::vector<std::vector<double>>(256, {1.0, 0.0}), {}));
}

TEST(NmiPlot, ragged_tables_are_usage_errors) {
  EXPECT_FALSE(draw_nmi_plot({}, {}));
  EXPECT_FALSE(draw_nmi_plot({{}}, {}));
  EXPECT_FALSE(draw_nmi_plot({{.1, .2}, {.1}}, {}));
}

}  // namespace
}  // namespace fovea
