#pragma once
// One picture with what is drawn over it. Shows and reports; decides nothing.

#include <QPixmap>
#include <QWidget>
#include <set>
#include <vector>

#include "gui/overlay_scene.h"
#include "gui/picture.h"
#include "gui/view_transform.h"

namespace fovea::gui {

class PictureView : public QWidget {
  Q_OBJECT

 public:
  /// `transform` must outlive the view; views that share one zoom together.
  explicit PictureView(ViewTransform& transform, QWidget* parent = nullptr);

  void set_picture(PicturePtr picture);
  void set_scene(OverlayScene scene);
  /// Said in the middle when there is no picture.
  void set_placeholder(const QString& title, const QString& hint);
  void set_overlay_visible(bool visible);
  void set_patch(int id);
  /// While painting, the patches in `painted` are shown as kept and dragging changes them.
  void set_painting(bool painting, const std::set<int>& painted);

  const PicturePtr& picture() const { return picture_; }
  const OverlayScene& scene() const { return scene_; }
  /// View pixels per picture pixel, in device pixels: 1 is 100 %.
  double zoom() const;
  void zoom_by(double factor);
  void zoom_to_actual_size();

  /// What lies under a point of the view.
  struct Place {
    bool on_picture = false;  // else, with a cell, on the padding that the model sees beside it
    int x = 0, y = 0;         // picture pixel
    int cell = -1, id = -1;   // of the grid; -1: none there
  };
  Place place_at(QPointF point) const;
  /// The middle of a visual token's cell, in the view.
  QPointF middle_of(int id) const;
  /// "patch 213 (row 8, column 21), pixel 512, 210: 0.0123"
  QString describe(const Place& place) const;

  QSize sizeHint() const override { return {480, 400}; }
  QSize minimumSizeHint() const override { return {160, 120}; }

 Q_SIGNALS:
  void patch_clicked(int id);
  void patches_painted(const std::vector<int>& ids, bool add);
  /// An arrow key asks for the previous (-1) or next (1) picture.
  void step_wanted(int by);
  void hold_overlay(bool held);

 protected:
  void paintEvent(QPaintEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;
  void mouseDoubleClickEvent(QMouseEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  void keyReleaseEvent(QKeyEvent* event) override;
  void leaveEvent(QEvent* event) override;
  void focusOutEvent(QFocusEvent* event) override;
  void changeEvent(QEvent* event) override;
  bool event(QEvent* event) override;

 private:
  QRectF target() const;
  QRectF cell_rect(int cell) const;
  void redraw();
  void draw_backdrop();
  void draw_picture(QPainter& painter, const QRectF& target) const;
  void draw_unseen(QPainter& painter, const QRectF& target) const;
  void draw_cells(QPainter& painter) const;
  void draw_outline(QPainter& painter, const QRectF& cell, double width) const;
  void draw_readout(QPainter& painter) const;
  void draw_placeholder(QPainter& painter) const;
  void paint_at(QPointF point);
  void move_patch(int rows, int cols);

  ViewTransform& transform_;
  PicturePtr picture_;
  OverlayScene scene_;
  QRectF frame_;  // what is fitted, in picture pixels: the picture, and padding that the grid has
  QString title_, hint_;
  QPixmap backdrop_;  // picture and overlay, without what follows the mouse; null: to be drawn
  bool overlay_visible_ = true;
  int patch_ = -1;
  bool painting_ = false;
  std::set<int> painted_;

  QPointF pressed_, last_;
  bool hovering_ = false, dragging_ = false, stroke_adds_ = true, stroke_ = false;
  QPointF hover_;
};

}  // namespace fovea::gui
