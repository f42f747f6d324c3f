#include "gui/overlay_scene.h"

#include <gtest/gtest.h>

#include <limits>

namespace fovea::gui {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// One picture of 2 x 3 cells.
Run six_patches() {
  Run run;
  for (int id = 0; id < 6; ++id) {
    VisualToken token;
    token.row = id / 3;
    token.col = id % 3;
    token.x = 5 + 10.0F * static_cast<float>(token.col);
    token.y = 10.0F * static_cast<float>(token.row);
    token.width = token.height = 10;
    run.answer.layout.visual.push_back(token);
  }
  run.answer.pruning.initial = 6;
  return run;
}

TEST(OverlayScene, the_grid_lies_where_its_tokens_look) {
  const gui::Run::Grid grid = six_patches().grid(0);
  EXPECT_EQ(grid.rows, 2);
  EXPECT_EQ(grid.cols, 3);
  EXPECT_EQ(grid.rect.x, 5);
  EXPECT_EQ(grid.rect.width, 30);
  EXPECT_EQ(grid.ids, (std::vector<std::int32_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(six_patches().grid(1).rows, 0);
}

TEST(OverlayScene, cells_say_which_stage_pruned_them) {
  gui::Run run = six_patches();
  run.answer.pruning.stages.resize(2);
  run.answer.pruning.stages[0].kept = {0, 2, 4};
  run.answer.pruning.stages[1].kept = {4};
  const gui::Run::Grid grid = run.grid(0);
  using C = CellState;
  EXPECT_EQ(cells_at_stage(run, grid, 0), std::vector<C>(6, C::present));
  EXPECT_EQ(cells_at_stage(run, grid, 1),
            (std::vector<C>{C::present, C::pruned_now, C::present, C::pruned_now, C::present,
                            C::pruned_now}));
  EXPECT_EQ(cells_at_stage(run, grid, 2), (std::vector<C>{C::pruned_now, C::pruned, C::pruned_now,
                                                          C::pruned, C::present, C::pruned}));
}

TEST(OverlayScene, merged_tokens_are_no_pruned_ones) {
  gui::Run run = six_patches();
  run.answer.pruning.stages.resize(1);
  run.answer.pruning.stages[0].kept = {0};
  run.answer.pruning.stages[0].sources = {{1, 2}};
  const auto cells = cells_at_stage(run, run.grid(0), 1);
  EXPECT_EQ(cells[0], CellState::present);
  EXPECT_EQ(cells[1], CellState::merged);
  EXPECT_EQ(cells[2], CellState::merged);
  EXPECT_EQ(cells[3], CellState::pruned_now);
}

TEST(OverlayScene, flat_maps_have_one_pixel_a_cell_and_nothing_where_it_was_pruned) {
  GridMap map;
  map.rows = 1;
  map.cols = 3;
  map.values = {0, kNaN, 2};
  Display display;
  display.smooth = false;
  display.opacity = 1;
  const QImage image = heat_image(map, 0, 2, display);
  ASSERT_EQ(image.size(), QSize(3, 1));
  EXPECT_EQ(qAlpha(image.pixel(1, 0)), 0);
  EXPECT_EQ(qAlpha(image.pixel(2, 0)), 255);
  const auto top = color_of(display.color_map, 1);
  EXPECT_EQ(image.pixel(2, 0), qRgb(top[0], top[1], top[2]));
}

TEST(OverlayScene, fading_makes_low_values_transparent) {
  GridMap map;
  map.rows = map.cols = 1;
  map.values = {0};
  Display display;
  display.smooth = false;
  EXPECT_GT(qAlpha(heat_image(map, 0, 1, display).pixel(0, 0)), 0);
  display.fade = true;
  EXPECT_EQ(qAlpha(heat_image(map, 0, 1, display).pixel(0, 0)), 0);
}

TEST(OverlayScene, smooth_maps_pass_through_the_cells_values_and_leave_pruned_cells_out) {
  GridMap map;
  map.rows = 1;
  map.cols = 3;
  map.values = {1, kNaN, 1};
  Display display;
  const QImage image = heat_image(map, 0, 1, display);
  const int y = image.height() / 2, third = image.width() / 3;
  EXPECT_EQ(qAlpha(image.pixel(third + third / 2, y)), 0);
  // A neighbour that was pruned does not darken a cell.
  EXPECT_EQ(image.pixel(third - 1, y), image.pixel(third / 2, y));
}

TEST(OverlayScene, thumbnails_are_opaque_and_use_their_own_range) {
  GridMap map;
  map.rows = 1;
  map.cols = 2;
  map.values = {0, 0.001F};
  const QImage image = thumbnail_image(map, ColorMap::viridis);
  const auto top = color_of(ColorMap::viridis, 1);
  EXPECT_EQ(image.pixel(1, 0), qRgb(top[0], top[1], top[2]));
  EXPECT_EQ(qAlpha(image.pixel(0, 0)), 255);
}

}  // namespace
}  // namespace fovea::gui
