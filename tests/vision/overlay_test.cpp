#include "vision/overlay.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "vision/pattern.h"

namespace fovea {
namespace {

using testing::pattern;

constexpr float kPruned = std::numeric_limits<float>::quiet_NaN();

GridMap map_of(int rows, int cols, std::vector<float> values, PixelRect rect) {
  return {rows, cols, std::move(values), rect};
}

/// Drawing of the picture's own size, without a bar.
OverlayOptions plain() {
  OverlayOptions options;
  options.color_bar = false;
  options.min_side = 1;
  return options;
}

double brightness(const Image& image, int x, int y) {
  const std::uint8_t* pixel = image.pixel(x, y);
  return pixel[0] + pixel[1] + pixel[2];
}

// ---- Colours
// -------------------------------------------------------------------------------------

TEST(ColorMap, names_are_known_and_others_refused) {
  for (const char* name : {"turbo", "viridis", "inferno", "gray"}) {
    EXPECT_TRUE(parse_color_map(name)) << name;
  }
  const auto jet = parse_color_map("jet");
  ASSERT_FALSE(jet);
  EXPECT_EQ(jet.error().code, ErrorCode::usage);
  EXPECT_NE(jet.error().remedy.find("viridis"), std::string::npos);
}

TEST(ColorMap, ends_are_those_of_the_published_maps) {
  using Color = std::array<std::uint8_t, 3>;
  EXPECT_EQ(color_of(ColorMap::viridis, 0), (Color{68, 1, 84}));
  EXPECT_EQ(color_of(ColorMap::viridis, 1), (Color{253, 231, 37}));
  EXPECT_EQ(color_of(ColorMap::inferno, 0), (Color{0, 0, 4}));
  EXPECT_EQ(color_of(ColorMap::inferno, 1), (Color{252, 255, 164}));
  EXPECT_EQ(color_of(ColorMap::gray, 0.5), (Color{128, 128, 128}));
}

TEST(ColorMap, values_outside_are_clamped) {
  for (const ColorMap map :
       {ColorMap::viridis, ColorMap::inferno, ColorMap::turbo, ColorMap::gray}) {
    EXPECT_EQ(color_of(map, -5), color_of(map, 0));
    EXPECT_EQ(color_of(map, 7), color_of(map, 1));
    EXPECT_EQ(color_of(map, NAN), color_of(map, 0));
    EXPECT_EQ(color_of(map, INFINITY), color_of(map, 1));
  }
}

TEST(ColorMap, neighbouring_values_have_neighbouring_colours) {
  for (const ColorMap map :
       {ColorMap::viridis, ColorMap::inferno, ColorMap::turbo, ColorMap::gray}) {
    for (int step = 0; step < 1000; ++step) {
      const auto a = color_of(map, step / 1000.0), b = color_of(map, (step + 1) / 1000.0);
      for (std::size_t channel = 0; channel < 3; ++channel) {
        EXPECT_LE(std::abs(a[channel] - b[channel]), 2);
      }
    }
  }
}

// ---- On the picture
// ------------------------------------------------------------------------------

TEST(DrawOverlay, opacity_zero_shows_the_picture_alone) {
  const Image picture = pattern(60, 40, 1);
  OverlayOptions options = plain();
  options.opacity = 0;
  const auto drawn =
      draw_overlay(picture, map_of(2, 3, {1, 2, 3, 4, 5, 6}, {0, 0, 60, 40}), options);
  ASSERT_TRUE(drawn) << drawn.error().to_string();
  EXPECT_EQ(drawn->rgb, picture.rgb);
}

TEST(DrawOverlay, a_cell_is_drawn_where_its_rectangle_lies) {
  // A 2x2 grid over the middle 40x40 of an 80x40 picture; only the lower right cell is strong.
  const Image picture = Image::filled(80, 40, 10, 10, 10);
  OverlayOptions options = plain();
  options.smooth = false;
  options.color_map = ColorMap::gray;
  const auto drawn = draw_overlay(picture, map_of(2, 2, {0, 0, 0, 1}, {20, 0, 40, 40}), options);
  ASSERT_TRUE(drawn);
  for (int y = 0; y < 40; ++y) {
    for (int x = 0; x < 80; ++x) {
      const bool strong = x >= 40 && x < 60 && y >= 20;
      EXPECT_EQ(brightness(*drawn, x, y) > 300, strong) << x << ", " << y;
    }
  }
}

TEST(DrawOverlay, full_opacity_gives_the_strongest_cell_its_own_colour) {
  const Image picture = pattern(32, 32, 2);
  OverlayOptions options = plain();
  options.opacity = 1;
  options.color_map = ColorMap::viridis;
  const auto drawn = draw_overlay(picture, map_of(1, 1, {0.25F}, {0, 0, 32, 32}), options);
  ASSERT_TRUE(drawn);
  for (const int place : {0, 500, 1023}) {
    EXPECT_EQ(drawn->rgb[static_cast<std::size_t>(place) * 3], 253);
  }
}

TEST(DrawOverlay, smooth_values_go_straight_from_centre_to_centre) {
  const Image picture = Image::filled(40, 10, 0, 0, 0);
  OverlayOptions options = plain();
  options.opacity = 1;
  options.color_map = ColorMap::gray;
  options.low = 0;
  options.high = 1;
  const auto drawn = draw_overlay(picture, map_of(1, 2, {0, 1}, {0, 0, 40, 10}), options);
  ASSERT_TRUE(drawn);
  // Left of the first centre (x = 10) and right of the second (x = 30) the values are constant.
  EXPECT_EQ(brightness(*drawn, 2, 5), 0);
  EXPECT_EQ(brightness(*drawn, 35, 5), 3 * 255);
  for (int x = 10; x < 29; ++x) EXPECT_LT(brightness(*drawn, x, 5), brightness(*drawn, x + 1, 5));
}

TEST(DrawOverlay, outside_the_rectangle_the_picture_is_dimmed) {
  const Image picture = Image::filled(50, 50, 200, 180, 160);
  const auto drawn = draw_overlay(picture, map_of(1, 1, {1}, {10, 10, 30, 30}), plain());
  ASSERT_TRUE(drawn);
  EXPECT_LT(brightness(*drawn, 2, 2), 0.5 * (200 + 180 + 160));
  EXPECT_LT(brightness(*drawn, 45, 20), 0.5 * (200 + 180 + 160));
}

TEST(DrawOverlay, pruned_cells_are_hatched_and_do_not_bleed_into_others) {
  const Image picture = Image::filled(120, 60, 200, 200, 200);
  OverlayOptions options = plain();
  options.color_map = ColorMap::gray;
  options.opacity = 1;
  const GridMap map = map_of(1, 2, {1, kPruned}, {0, 0, 120, 60});
  const auto drawn = draw_overlay(picture, map, options);
  ASSERT_TRUE(drawn);
  EXPECT_EQ(brightness(*drawn, 59, 30), 3 * 255);  // kept, up to the border
  bool light = false, dark = false;
  for (int x = 62; x < 118; ++x) {
    light = light || brightness(*drawn, x, 30) > 400;
    dark = dark || brightness(*drawn, x, 30) < 400;
  }
  EXPECT_TRUE(light && dark);

  options.hatch_pruned = false;
  const auto unhatched = draw_overlay(picture, map, options);
  ASSERT_TRUE(unhatched);
  EXPECT_EQ(brightness(*unhatched, 90, 30), 600);
}

TEST(DrawOverlay, small_pictures_are_enlarged_by_whole_multiples) {
  OverlayOptions options = plain();
  options.min_side = 672;
  const GridMap map = map_of(1, 1, {1}, {0, 0, 224, 300});
  const auto drawn = draw_overlay(pattern(224, 300, 3), map, options);
  ASSERT_TRUE(drawn);
  EXPECT_EQ(drawn->width, 672);
  EXPECT_EQ(drawn->height, 900);
  const auto large = draw_overlay(pattern(600, 700, 3), map, options);
  ASSERT_TRUE(large);
  EXPECT_EQ(large->width, 600);
  // One pixel wide and very tall: never over the caps.
  const auto thin = draw_overlay(pattern(1, 9000, 3), map, options);
  ASSERT_TRUE(thin);
  EXPECT_EQ(thin->height, 9000);
}

TEST(DrawOverlay, the_bar_lies_under_the_drawing) {
  OverlayOptions options = plain();
  options.color_bar = true;
  options.color_map = ColorMap::viridis;
  const auto drawn =
      draw_overlay(pattern(300, 200, 4), map_of(1, 1, {0.5F}, {0, 0, 300, 200}), options);
  ASSERT_TRUE(drawn);
  EXPECT_EQ(drawn->width, 300);
  ASSERT_GT(drawn->height, 220);
  const std::uint8_t* left = drawn->pixel(7, 208);
  EXPECT_EQ(left[0], 68);
  int ink = 0;
  for (int y = 200; y < drawn->height; ++y) {
    for (int x = 0; x < 300; ++x) ink += drawn->pixel(x, y)[0] == 40 ? 1 : 0;
  }
  EXPECT_GT(ink, 20);  // "0" and "0.5" are written
}

TEST(DrawOverlay, maps_without_any_value_are_drawn) {
  for (const float value : {kPruned, 0.0F, -1.0F, std::numeric_limits<float>::infinity()}) {
    const auto drawn = draw_overlay(pattern(70, 70, 5),
                                    map_of(2, 2, std::vector<float>(4, value), {0, 0, 70, 70}));
    EXPECT_TRUE(drawn) << value;
    EXPECT_TRUE(draw_map(map_of(2, 2, std::vector<float>(4, value), {}))) << value;
  }
}

TEST(DrawOverlay, impossible_requests_are_usage_errors) {
  const Image picture = pattern(16, 16, 6);
  const GridMap good = map_of(1, 2, {1, 2}, {0, 0, 16, 16});
  const auto refused = [&](const GridMap& map, const OverlayOptions& options) {
    const auto drawn = draw_overlay(picture, map, options);
    return !drawn && drawn.error().code == ErrorCode::usage;
  };
  EXPECT_TRUE(draw_overlay(picture, good));
  EXPECT_TRUE(refused(map_of(0, 2, {}, good.rect), {}));
  EXPECT_TRUE(refused(map_of(-1, -2, {1, 2}, good.rect), {}));
  EXPECT_TRUE(refused(map_of(2, 2, {1, 2}, good.rect), {}));
  EXPECT_TRUE(refused(map_of(1, 2, {1, 2}, {0, 0, 0, 16}), {}));
  EXPECT_TRUE(refused(map_of(1, 2, {1, 2}, {NAN, 0, 16, 16}), {}));
  OverlayOptions options;
  options.opacity = 1.5;
  EXPECT_TRUE(refused(good, options));
  options = {};
  options.opacity = NAN;
  EXPECT_TRUE(refused(good, options));
  options = {};
  options.low = 2;
  options.high = 1;
  EXPECT_TRUE(refused(good, options));
  options = {};
  options.min_side = 0;
  EXPECT_TRUE(refused(good, options));
  EXPECT_FALSE(draw_overlay(Image{}, good));
  EXPECT_FALSE(draw_overlay(Image{4, 4, {1}}, good));
}

// ---- Alone
// ---------------------------------------------------------------------------------------

TEST(DrawMap, every_cell_is_a_flat_square) {
  OverlayOptions options = plain();
  options.min_side = 60;
  options.color_map = ColorMap::gray;
  const auto drawn = draw_map(map_of(2, 3, {0, 1, 2, 3, 4, 5}, {}), options);
  ASSERT_TRUE(drawn);
  EXPECT_EQ(drawn->width, 90);
  EXPECT_EQ(drawn->height, 60);
  for (int y = 0; y < 60; ++y) {
    for (int x = 0; x < 90; ++x) {
      const double value = (y / 30) * 3 + x / 30;
      EXPECT_NEAR(drawn->pixel(x, y)[0], value / 5 * 255, 0.51);
    }
  }
}

}  // namespace
}  // namespace fovea
