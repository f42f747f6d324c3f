// Where things lie in the view of one picture.

#include "gui/picture_view.h"

#include <numeric>

#include "gui_support.h"

namespace fovea::gui {
namespace {

PicturePtr picture(int width, int height) {
  return std::make_shared<const Picture>(QStringLiteral("a.png"),
                                         Image::filled(width, height, 90, 90, 90), 0);
}

/// A grid of 4 x 4 cells over the square around the middle, cropped or padded.
OverlayScene square_scene(int width, int height, bool padded) {
  OverlayScene scene;
  scene.rows = scene.cols = 4;
  const double side = padded ? std::max(width, height) : std::min(width, height);
  scene.rect = {(width - side) / 2, (height - side) / 2, side, side};
  scene.ids.resize(16);
  std::iota(scene.ids.begin(), scene.ids.end(), 0);
  scene.cells.assign(16, CellState::present);
  return scene;
}

TEST(PictureView, padding_that_the_model_sees_is_fitted_and_can_be_chosen) {
  ViewTransform transform;
  PictureView view(transform);
  view.resize(400, 400);
  view.set_picture(picture(400, 200));
  EXPECT_DOUBLE_EQ(view.zoom(), 1.0 * view.devicePixelRatioF());
  view.set_scene(square_scene(400, 200, true));
  EXPECT_DOUBLE_EQ(view.zoom(), 1.0 * view.devicePixelRatioF()) << "the square fits already";
  const auto above = view.place_at({50, 20});
  EXPECT_FALSE(above.on_picture);
  EXPECT_EQ(above.id, 0);
  EXPECT_TRUE(view.describe(above).contains("padding"));
  const auto inside = view.place_at({50, 150});
  EXPECT_TRUE(inside.on_picture);
  EXPECT_EQ(inside.id, 4);
  EXPECT_EQ(inside.x, 50);
  EXPECT_EQ(inside.y, 50);

  view.resize(400, 200);
  EXPECT_DOUBLE_EQ(view.zoom(), 0.5 * view.devicePixelRatioF()) << "with its padding";
  EXPECT_EQ(view.place_at({150, 10}).id, 1);
}

TEST(PictureView, what_the_model_does_not_see_has_no_patch) {
  ViewTransform transform;
  PictureView view(transform);
  view.resize(400, 200);
  view.set_picture(picture(400, 200));
  view.set_scene(square_scene(400, 200, false));
  const auto left = view.place_at({20, 100});
  EXPECT_TRUE(left.on_picture);
  EXPECT_EQ(left.id, -1);
  EXPECT_TRUE(view.describe(left).contains("not seen"));
  EXPECT_EQ(view.place_at({110, 10}).id, 0);
}

TEST(PictureView, what_lies_under_the_mouse_stays_there_while_zooming_into_padding) {
  ViewTransform transform;
  PictureView view(transform);
  view.resize(400, 400);
  view.set_picture(picture(400, 200));
  view.set_scene(square_scene(400, 200, true));
  view.zoom_by(3);
  const auto middle = view.place_at({200, 200});
  EXPECT_NEAR(middle.x, 200, 1);
  EXPECT_NEAR(middle.y, 100, 1);
}

}  // namespace
}  // namespace fovea::gui
