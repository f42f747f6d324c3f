#pragma once
// Where a question is written, how it will be pruned, and the button that asks or stops.

#include <QCheckBox>
#include <QComboBox>
#include <QGridLayout>
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

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  void place_controls(bool below);
  void refresh();
  void choose_prune();

  Viewer& viewer_;
  QGridLayout* grid_;
  QWidget* controls_;   // how it is asked
  bool below_ = false;  // they stand below the question: the window is narrow
  QLineEdit* question_;
  QComboBox* method_;
  QSpinBox* budget_;
  QCheckBox* compare_;
  QCheckBox* follow_up_;
  QPushButton* button_;
};

}  // namespace fovea::gui
