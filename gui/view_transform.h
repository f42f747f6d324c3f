#pragma once
// Zoom and place of a picture in its view. Views that share one move together.

#include <QObject>
#include <QPointF>
#include <QRectF>
#include <QSizeF>

namespace fovea::gui {

class ViewTransform : public QObject {
  Q_OBJECT

 public:
  enum class Mode { fit, fit_width, free };
  static constexpr double kLargest = 64, kSmallest = 1.0 / 64;

  using QObject::QObject;

  Mode mode() const { return mode_; }
  /// Fit modes follow the sizes of view and picture; the next picture is fitted again.
  void fit();
  void fit_width();

  /// View pixels per picture pixel for a view of this size.
  double scale(QSizeF view, QSizeF picture) const;
  /// Where the picture lies in the view.
  QRectF target(QSizeF view, QSizeF picture) const;

  /// Zooms so that the point of the picture under `anchor` (in the view) stays there.
  void zoom_to(double scale, QPointF anchor, QSizeF view, QSizeF picture);
  /// Moves the picture by view pixels; a picture that fits stays in the middle.
  void pan(QPointF by, QSizeF view, QSizeF picture);

 Q_SIGNALS:
  void changed();

 private:
  QRectF free_target(QSizeF view, QSizeF picture, double scale) const;

  Mode mode_ = Mode::fit;
  double scale_ = 1;
  QPointF centre_{0.5, 0.5};  // of the view, as a part of the picture's sides
};

}  // namespace fovea::gui
