#include "gui/view_transform.h"

#include <algorithm>

namespace fovea::gui {
namespace {

/// The picture's place along one axis: in the middle when it fits, else never leaving a gap.
double place(double view, double size, double centre) {
  if (size <= view) return (view - size) / 2;
  return std::clamp(view / 2 - centre * size, view - size, 0.0);
}

}  // namespace

void ViewTransform::fit() {
  mode_ = Mode::fit;
  centre_ = {0.5, 0.5};
  Q_EMIT changed();
}

void ViewTransform::fit_width() {
  mode_ = Mode::fit_width;
  centre_ = {0.5, 0.5};
  Q_EMIT changed();
}

double ViewTransform::scale(QSizeF view, QSizeF picture) const {
  if (mode_ == Mode::free) return scale_;
  if (picture.isEmpty() || view.isEmpty()) return 1;
  const double across = view.width() / picture.width();
  const double down = view.height() / picture.height();
  // Fitting has no limits: a 16384-pixel picture must fit a small window, too.
  return mode_ == Mode::fit_width ? across : std::min(across, down);
}

QRectF ViewTransform::target(QSizeF view, QSizeF picture) const {
  return free_target(view, picture, scale(view, picture));
}

QRectF ViewTransform::free_target(QSizeF view, QSizeF picture, double scale) const {
  const QSizeF size = picture * scale;
  return {place(view.width(), size.width(), centre_.x()),
          place(view.height(), size.height(), centre_.y()), size.width(), size.height()};
}

void ViewTransform::zoom_to(double scale, QPointF anchor, QSizeF view, QSizeF picture) {
  if (picture.isEmpty()) return;
  const QRectF before = target(view, picture);
  const double smallest =
      std::min({kSmallest, view.width() / picture.width(), view.height() / picture.height()});
  scale = std::clamp(scale, smallest, kLargest);
  const QPointF held((anchor.x() - before.x()) / before.width(),
                     (anchor.y() - before.y()) / before.height());
  mode_ = Mode::free;
  scale_ = scale;
  const QSizeF size = picture * scale;
  centre_ = {held.x() - (anchor.x() - view.width() / 2) / size.width(),
             held.y() - (anchor.y() - view.height() / 2) / size.height()};
  centre_ = {std::clamp(centre_.x(), 0.0, 1.0), std::clamp(centre_.y(), 0.0, 1.0)};
  Q_EMIT changed();
}

void ViewTransform::pan(QPointF by, QSizeF view, QSizeF picture) {
  if (picture.isEmpty()) return;
  const double now = scale(view, picture);
  const QRectF before = free_target(view, picture, now);
  mode_ = Mode::free;
  scale_ = now;
  if (before.width() <= view.width()) by.setX(0);
  if (before.height() <= view.height()) by.setY(0);
  // From where the picture really is, so that a push against an edge is not remembered.
  centre_ = {(view.width() / 2 - before.x() - by.x()) / before.width(),
             (view.height() / 2 - before.y() - by.y()) / before.height()};
  centre_ = {std::clamp(centre_.x(), 0.0, 1.0), std::clamp(centre_.y(), 0.0, 1.0)};
  Q_EMIT changed();
}

}  // namespace fovea::gui
