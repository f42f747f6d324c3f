#pragma once
// Which patches of a picture leave inside the vision tower, for the next question.

#include <QDoubleSpinBox>
#include <QSpinBox>
#include <array>

#include "gui/choice_box.h"
#include "gui/viewer.h"

namespace fovea::gui {

class TowerBox : public QWidget {
  Q_OBJECT

 public:
  /// `viewer` must outlive the box.
  explicit TowerBox(Viewer& viewer, QWidget* parent = nullptr);

 private:
  void choose();
  void refresh();

  Viewer& viewer_;
  ChoiceBox* tower_;
  QSpinBox* share_;
  QWidget* cuts_;
  std::array<QDoubleSpinBox*, 3> thresholds_;
};

}  // namespace fovea::gui
