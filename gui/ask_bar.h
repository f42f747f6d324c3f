#pragma once
// Where a question is written, how it will be pruned, and the button that asks or stops.

#include <QCheckBox>
#include <QComboBox>
#include <QLineEdit>
#include <QPushButton>
#include <QSpinBox>
#include <QWidget>

#include "gui/viewer.h"

namespace fovea::gui {

class AskBar : public QWidget {
  Q_OBJECT

 public:
  /// `viewer` must outlive the bar.
  explicit AskBar(Viewer& viewer, QWidget* parent = nullptr);

  QLineEdit& question() { return *question_; }
  /// Asks what is written, or stops what runs.
  void act();

 private:
  void refresh();
  void choose_prune();

  Viewer& viewer_;
  QLineEdit* question_;
  QComboBox* method_;
  QSpinBox* budget_;
  QCheckBox* compare_;
  QCheckBox* follow_up_;
  QPushButton* button_;
};

}  // namespace fovea::gui
