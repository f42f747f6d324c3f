#pragma once
// The line under a picture: what is drawn over it, and the colours with their range.

#include <QWidget>

#include "gui/overlay_scene.h"
#include "gui/view_state.h"

namespace fovea::gui {

class SceneBar : public QWidget {
  Q_OBJECT

 public:
  explicit SceneBar(QWidget* parent = nullptr);

  void show_scene(const OverlayScene& scene, const Display& display);
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override { return {80, sizeHint().height()}; }

 protected:
  void paintEvent(QPaintEvent* event) override;

 private:
  QString caption_, range_text_;
  double low_ = 0, high_ = 0;
  Display display_;
};

}  // namespace fovea::gui
