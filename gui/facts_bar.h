#pragma once
// Always in sight: the model and where it runs, how the answer on screen was pruned, how many
// visual tokens that left, and what each step took.

#include <QLabel>
#include <QWidget>

#include "gui/viewer.h"

namespace fovea::gui {

class FactsBar : public QWidget {
  Q_OBJECT

 public:
  /// `viewer` must outlive the bar.
  explicit FactsBar(Viewer& viewer, QWidget* parent = nullptr);

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  void refresh();
  void show_times();

  Viewer& viewer_;
  QLabel *model_, *tokens_, *times_, *state_;
};

/// "vision 31 ms, prefill 24, first token 58, 3.9 a token, total 70 ms"
QString timing_text(const Answer& answer);
/// Every stage, a line each.
QString stage_times_text(const Answer& answer);

}  // namespace fovea::gui
