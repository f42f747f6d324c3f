#include "app/chart/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "app/chart/canvas.h"
#include "app/chart/stroke_font.h"

namespace fovea::app {
namespace {

constexpr Color kWhite{255, 255, 255}, kBlack{0, 0, 0};

double ink(const Image& image, int left, int top, int right, int bottom) {
  double sum = 0;
  for (int y = top; y < bottom; ++y) {
    for (int x = left; x < right; ++x) sum += 255 - image.pixel(x, y)[0];
  }
  return sum / 255;
}

TEST(Canvas, a_stroke_covers_its_length_times_its_width) {
  Canvas canvas(60, 40, kWhite);
  canvas.line({10, 20}, {50, 20}, 4, kBlack);
  // 40 x 4, and a round end of radius 2 at either side.
  EXPECT_NEAR(ink(canvas.image(), 0, 0, 60, 40), 40 * 4 + 3.14159 * 4, 3);
  EXPECT_EQ(canvas.image().pixel(30, 20)[0], 0);
  EXPECT_EQ(canvas.image().pixel(30, 30)[0], 255);
}

TEST(Canvas, a_slanted_stroke_covers_as_much_as_a_level_one) {
  Canvas canvas(60, 60, kWhite);
  canvas.line({15, 15}, {43.28, 43.28}, 4, kBlack);
  EXPECT_NEAR(ink(canvas.image(), 0, 0, 60, 60), 40 * 4 + 3.14159 * 4, 5);
}

TEST(Canvas, polygons_and_discs_are_filled_whichever_way_they_turn) {
  for (const bool turned : {false, true}) {
    std::vector<Point> corners{{10, 10}, {30, 10}, {30, 20}, {10, 20}};
    if (turned) std::reverse(corners.begin(), corners.end());
    Canvas canvas(40, 30, kWhite);
    canvas.polygon(corners, kBlack);
    EXPECT_NEAR(ink(canvas.image(), 0, 0, 40, 30), 200, 1);
  }
  Canvas canvas(40, 30, kWhite);
  canvas.disc({20, 15}, 10, kBlack);
  EXPECT_NEAR(ink(canvas.image(), 0, 0, 40, 30), 314.2, 3);
}

TEST(Canvas, what_lies_outside_is_left_out) {
  Canvas canvas(20, 20, kWhite);
  canvas.line({-50, 10}, {1e7, 10}, 2, kBlack);
  canvas.disc({-100, -100}, 5, kBlack);
  canvas.text("far away", {1e6, -1e6}, 12, Canvas::Anchor::middle, kBlack);
  EXPECT_NEAR(ink(canvas.image(), 0, 0, 20, 20), 40, 1);
}

TEST(Canvas, text_stands_at_its_anchor_and_reads_upward_where_asked) {
  const double width = text_width("Hello", 12);
  EXPECT_GT(width, 30);
  for (const auto& [anchor, left] :
       std::vector<std::pair<Canvas::Anchor, double>>{{Canvas::Anchor::left, 100.0},
                                                      {Canvas::Anchor::middle, 100 - width / 2},
                                                      {Canvas::Anchor::right, 100 - width}}) {
    Canvas canvas(200, 40, kWhite);
    canvas.text("Hello", {100, 30}, 12, anchor, kBlack);
    const double all = ink(canvas.image(), 0, 0, 200, 40);
    EXPECT_GT(all, 30);
    EXPECT_NEAR(
        ink(canvas.image(), static_cast<int>(left) - 3, 15, static_cast<int>(left + width) + 3, 33),
        all, 0.5);
  }
  Canvas canvas(40, 200, kWhite);
  canvas.text_upward("Hello", {30, 100}, 12, Canvas::Anchor::left, kBlack);
  EXPECT_NEAR(ink(canvas.image(), 15, static_cast<int>(100 - width) - 3, 33, 103),
              ink(canvas.image(), 0, 0, 40, 200), 0.5);
}

TEST(StrokeFont, every_printable_character_has_a_glyph_of_its_own) {
  const auto shape = [](char c) {
    std::vector<std::pair<double, double>> points;
    for (const auto& stroke : glyph_of(c).strokes) {
      for (const GlyphPoint& p : stroke) points.emplace_back(p.x, p.y);
      points.emplace_back(-1, -1);
    }
    return points;
  };
  std::set<std::vector<std::pair<double, double>>> shapes;
  const auto box = shape('\x01');
  for (char c = '!'; c <= '~'; ++c) {
    EXPECT_NE(shape(c), box) << c;
    // A capital O is a zero.
    if (c != 'O') {
      EXPECT_TRUE(shapes.insert(shape(c)).second) << c;
    }
    for (const auto& [x, y] : shape(c)) EXPECT_TRUE(x <= 4 && y >= -2 && y <= 7) << c;
  }
  EXPECT_EQ(shape('\xff'), box);
}

TEST(Chart, ticks_are_steps_of_1_2_or_5) {
  EXPECT_EQ(axis_ticks(0, 100, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(axis_ticks(17, 610, 6), (std::vector<double>{100, 200, 300, 400, 500, 600}));
  EXPECT_EQ(axis_ticks(-3, 3, 3), (std::vector<double>{-2, 0, 2}));
  EXPECT_EQ(axis_ticks(0.1, 0.2, 2).size(), 3U);
}

TEST(Chart, every_series_level_and_label_is_drawn) {
  const auto drawn = [](const Chart& chart) {
    const auto image = draw_chart(chart);
    if (!image) {
      ADD_FAILURE() << image.error().to_string();
      return Image::filled(1, 1, 0, 0, 0);
    }
    return *image;
  };
  Chart chart{.title = "a", .x_label = "b", .y_label = "c"};
  chart.series.push_back({"one", {{100, 50, 40.0, 60.0}, {300, 70, 60.0, 80.0}}});
  const Image one = drawn(chart);
  EXPECT_EQ(one.width, 1200);
  EXPECT_EQ(one.height, 760);
  Chart more = chart;
  more.levels.push_back({"level", 65});
  EXPECT_NE(drawn(more).rgb, one.rgb);
  more = chart;
  more.series.push_back({"two", {{200, 60, {}, {}}}});
  EXPECT_NE(drawn(more).rgb, one.rgb);
  more = chart;
  more.title = "another";
  EXPECT_NE(drawn(more).rgb, one.rgb);
  EXPECT_EQ(drawn(chart).rgb, one.rgb);
}

TEST(Chart, one_point_alone_can_be_drawn_and_nothing_cannot) {
  Chart chart;
  EXPECT_FALSE(draw_chart(chart));
  chart.series.push_back({"one", {{0, 100, {}, {}}}});
  EXPECT_TRUE(draw_chart(chart));
  chart.series.push_back({"odd", {{std::numeric_limits<double>::quiet_NaN(), 1, {}, {}}}});
  EXPECT_FALSE(draw_chart(chart));
}

}  // namespace
}  // namespace fovea::app
