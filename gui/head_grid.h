#pragma once
// Every layer and head of one answer token at once, as small maps.

#include <QWidget>
#include <vector>

#include "gui/viewer.h"

namespace fovea::gui {

class HeadGrid : public QWidget {
  Q_OBJECT

 public:
  /// `viewer` must outlive the grid.
  explicit HeadGrid(Viewer& viewer, QWidget* parent = nullptr);

  QSize sizeHint() const override;
  /// Whether the maps are there and drawn, and the size in which each is largest.
  bool has_maps() const { return !images_.empty(); }
  QSize largest_size() const;
  bool hasHeightForWidth() const override { return true; }
  int heightForWidth(int width) const override;
  /// Layer and head under a point, {-1, -1} beside the maps.
  std::pair<int, int> cell_at(QPointF point) const;
  QRectF cell_rect(int layer, int head) const;

 protected:
  void paintEvent(QPaintEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  bool event(QEvent* event) override;

 private:
  void refresh();
  double side(int width) const;

  Viewer& viewer_;
  int layers_ = 0, heads_ = 0;
  std::shared_ptr<const TokenMaps> maps_;  // of the token shown; null: not there (yet)
  std::vector<QImage> images_;             // [layers, heads]
};

}  // namespace fovea::gui
