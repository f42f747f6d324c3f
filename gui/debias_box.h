#pragma once
// How the next question's scores are debiased before a cut, and what a comparison puts beside it.

#include <QCheckBox>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QWidget>

#include "gui/viewer.h"

namespace fovea::gui {

class DebiasBox : public QWidget {
  Q_OBJECT

 public:
  /// `viewer` must outlive the box.
  explicit DebiasBox(Viewer& viewer, QWidget* parent = nullptr);

 private:
  void choose();
  void refresh();

  Viewer& viewer_;
  QCheckBox *debias_, *padding_;
  QDoubleSpinBox* sigma_;
  QComboBox* against_;
};

}  // namespace fovea::gui
