#pragma once
// The user's own choice of patches: painting them, where to start from, and asking with them.

#include <QGroupBox>
#include <QLabel>
#include <QPushButton>

#include "gui/viewer.h"

namespace fovea::gui {

class PaintingBox : public QGroupBox {
  Q_OBJECT

 public:
  /// `viewer` must outlive the box.
  explicit PaintingBox(Viewer& viewer, QWidget* parent = nullptr);

 private:
  void start_from_stage();
  void refresh();

  Viewer& viewer_;
  QLabel* count_;
  QPushButton *paint_, *from_stage_, *clear_, *ask_;
};

}  // namespace fovea::gui
