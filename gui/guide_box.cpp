#include "gui/guide_box.h"

#include <QGridLayout>
#include <QSignalBlocker>

namespace fovea::gui {
namespace {

constexpr double kFirstThreshold = 0.9;
enum Exit { kNever, kByScore, kByConfidence };

}  // namespace

GuideBox::GuideBox(Viewer& viewer, QWidget* parent) : QWidget(parent), viewer_(viewer) {
  exit_ = new ChoiceBox;
  exit_->fit_panel();
  exit_->addItem(tr("never stands"), kNever);
  exit_->addItem(tr("stands by score"), kByScore);
  exit_->addItem(tr("stands by confidence"), kByConfidence);
  exit_->setToolTip(
      tr("The small model answers first and ranks the patches (arXiv 2412.03324). "
         "Where it is sure enough its answer can stand, and the large model never "
         "runs"));
  exit_->setAccessibleName(tr("When the guide's answer is taken"));
  threshold_ = new QDoubleSpinBox;
  threshold_->setRange(0, 1);
  threshold_->setSingleStep(0.05);
  threshold_->setDecimals(3);
  threshold_->setValue(kFirstThreshold);
  threshold_->setPrefix(tr("above "));
  threshold_->setToolTip(tr("0: always, 1: never"));
  threshold_->setAccessibleName(tr("Exit threshold"));
  auto* grid = new QGridLayout(this);
  grid->setContentsMargins(0, 0, 0, 0);
  grid->addWidget(new QLabel(tr("Guide's answer")), 0, 0);
  grid->addWidget(exit_, 0, 1);
  grid->addWidget(threshold_, 1, 1);
  grid->setColumnStretch(1, 1);

  connect(exit_, &QComboBox::activated, this, &GuideBox::choose);
  connect(threshold_, &QDoubleSpinBox::valueChanged, this, &GuideBox::choose);
  connect(&viewer_, &Viewer::prune_changed, this, &GuideBox::refresh);
  refresh();
}

void GuideBox::choose() {
  PruneChoice choice = viewer_.prune();
  const int exit = exit_->currentData().toInt();
  choice.exit_threshold.reset();
  if (exit != kNever) choice.exit_threshold = threshold_->value();
  choice.exit_by_confidence = exit == kByConfidence;
  viewer_.set_prune(choice);
}

void GuideBox::refresh() {
  const QSignalBlocker blocker(threshold_);
  const PruneChoice& choice = viewer_.prune();
  setVisible(choice.needs_guide());
  exit_->setCurrentIndex(!choice.exit_threshold      ? kNever
                         : choice.exit_by_confidence ? kByConfidence
                                                     : kByScore);
  threshold_->setEnabled(choice.exit_threshold.has_value());
  if (choice.exit_threshold) threshold_->setValue(*choice.exit_threshold);
}

}  // namespace fovea::gui
