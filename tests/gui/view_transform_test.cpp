#include "gui/view_transform.h"

#include <gtest/gtest.h>

namespace fovea::gui {
namespace {

const QSizeF kView(400, 300), kPicture(800, 200);

TEST(ViewTransform, fitting_shows_the_whole_picture_in_the_middle) {
  const ViewTransform transform;
  EXPECT_EQ(transform.target(kView, kPicture), QRectF(0, 100, 400, 100));
  // However large the picture is.
  const QRectF huge = transform.target(kView, QSizeF(16384, 16384));
  EXPECT_EQ(huge, QRectF(50, 0, 300, 300));
}

TEST(ViewTransform, zooming_keeps_the_point_under_the_mouse) {
  ViewTransform transform;
  transform.zoom_to(2, QPointF(200, 150), kView, kPicture);
  const QPointF anchor(120, 90);
  const QRectF before = transform.target(kView, kPicture);
  const QPointF held((anchor.x() - before.x()) / before.width(),
                     (anchor.y() - before.y()) / before.height());
  transform.zoom_to(5, anchor, kView, kPicture);
  const QRectF after = transform.target(kView, kPicture);
  EXPECT_NEAR(after.x() + held.x() * after.width(), anchor.x(), 1e-6);
  EXPECT_NEAR(after.y() + held.y() * after.height(), anchor.y(), 1e-6);
  EXPECT_EQ(transform.scale(kView, kPicture), 5);
}

TEST(ViewTransform, panning_never_opens_a_gap_and_forgets_pushes_against_an_edge) {
  ViewTransform transform;
  transform.zoom_to(1, QPointF(200, 150), kView, kPicture);
  transform.pan({10000, 10000}, kView, kPicture);
  EXPECT_EQ(transform.target(kView, kPicture).x(), 0);
  EXPECT_EQ(transform.target(kView, kPicture).y(), 50) << "what fits stays in the middle";
  transform.pan({-5, 0}, kView, kPicture);
  EXPECT_NEAR(transform.target(kView, kPicture).x(), -5, 1e-9);
}

TEST(ViewTransform, a_fitted_view_fits_the_next_picture_and_a_zoomed_one_keeps_its_zoom) {
  ViewTransform transform;
  EXPECT_EQ(transform.scale(kView, QSizeF(100, 100)), 3);
  EXPECT_EQ(transform.scale(kView, QSizeF(200, 200)), 1.5);
  transform.zoom_to(2, {0, 0}, kView, kPicture);
  EXPECT_EQ(transform.scale(kView, QSizeF(100, 100)), 2);
  transform.fit_width();
  EXPECT_EQ(transform.scale(kView, kPicture), 0.5);
}

TEST(ViewTransform, zoom_has_ends) {
  ViewTransform transform;
  transform.zoom_to(1e9, {0, 0}, kView, kPicture);
  EXPECT_EQ(transform.scale(kView, kPicture), ViewTransform::kLargest);
  transform.zoom_to(1e-9, {0, 0}, kView, kPicture);
  EXPECT_EQ(transform.scale(kView, kPicture), ViewTransform::kSmallest);
}

}  // namespace
}  // namespace fovea::gui
