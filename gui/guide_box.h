#pragma once
// How the next question uses its guide (sgl): when the small model's answer is taken.

#include <QDoubleSpinBox>
#include <QLabel>

#include "gui/choice_box.h"
#include "gui/viewer.h"

namespace fovea::gui {

/// Shown only while the method is one that a guide serves.
class GuideBox : public QWidget {
  Q_OBJECT

 public:
  /// `viewer` must outlive the box.
  explicit GuideBox(Viewer& viewer, QWidget* parent = nullptr);

 private:
  void choose();
  void refresh();

  Viewer& viewer_;
  ChoiceBox* exit_;
  QDoubleSpinBox* threshold_;
};

}  // namespace fovea::gui
