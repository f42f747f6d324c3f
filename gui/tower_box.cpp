#include "gui/tower_box.h"

#include <QGridLayout>
#include <QLabel>
#include <QSignalBlocker>
#include <algorithm>

namespace fovea::gui {

using Tower = PruneChoice::Tower;

TowerBox::TowerBox(Viewer& viewer, QWidget* parent) : QWidget(parent), viewer_(viewer) {
  tower_ = new ChoiceBox;
  tower_->fit_panel();
  tower_->addItem(tr("all patches"), static_cast<int>(Tower::whole));
  tower_->addItem(tr("the best (topk)"), static_cast<int>(Tower::top_k));
  tower_->addItem(tr("drawn by lot"), static_cast<int>(Tower::random));
  tower_->addItem(tr("merged (ToMe)"), static_cast<int>(Tower::merged));
  tower_->addItem(tr("above a score (adaptive)"), static_cast<int>(Tower::adaptive));
  tower_->setToolTip(
      tr("Patches that stay between the vision tower's blocks, beside what the method does later: "
         "the best by class attention or those above a threshold of it (arXiv 2209.13802), some "
         "by lot, or like ones merged (arXiv 2210.09461)"));
  tower_->setAccessibleName(tr("Patches that stay in the tower"));
  share_ = new QSpinBox;
  share_->setRange(1, 100);
  share_->setSuffix(tr(" %"));
  share_->setToolTip(tr("Share of the patches left at the tower's end"));
  share_->setAccessibleName(tr("Share left in the tower"));
  cuts_ = new QWidget;
  auto* rows = new QGridLayout(cuts_);
  rows->setContentsMargins(0, 0, 0, 0);
  rows->setColumnStretch(1, 1);
  for (std::size_t cut = 0; cut < thresholds_.size(); ++cut) {
    const int row = static_cast<int>(cut);
    auto* threshold = new QDoubleSpinBox;
    threshold->setRange(0, 1);
    threshold->setDecimals(6);
    threshold->setStepType(QAbstractSpinBox::AdaptiveDecimalStepType);
    threshold->setPrefix(tr("above "));
    threshold->setToolTip(
        tr("Patches stay whose class attention exceeds this; over all patches it adds up to about "
           "1. `fovea calibrate vit` finds thresholds for a share of the work"));
    threshold->setAccessibleName(tr("Threshold of cut %1").arg(row + 1));
    rows->addWidget(new QLabel(tr("Cut %1").arg(row + 1)), row, 0);
    rows->addWidget(threshold, row, 1);
    connect(threshold, &QDoubleSpinBox::valueChanged, this, &TowerBox::choose);
    thresholds_[cut] = threshold;
  }
  auto* grid = new QGridLayout(this);
  grid->setContentsMargins(0, 0, 0, 0);
  grid->addWidget(new QLabel(tr("In the tower")), 0, 0);
  grid->addWidget(tower_, 0, 1);
  grid->addWidget(share_, 0, 2);
  grid->addWidget(cuts_, 1, 1, 1, 2);
  grid->setColumnStretch(1, 1);

  connect(tower_, &QComboBox::activated, this, &TowerBox::choose);
  connect(share_, &QSpinBox::valueChanged, this, &TowerBox::choose);
  connect(&viewer_, &Viewer::prune_changed, this, &TowerBox::refresh);
  refresh();
}

void TowerBox::choose() {
  PruneChoice choice = viewer_.prune();
  choice.tower = static_cast<Tower>(tower_->currentData().toInt());
  choice.tower_share = share_->value() / 100.0;
  std::ranges::transform(thresholds_, choice.tower_thresholds.begin(), &QDoubleSpinBox::value);
  viewer_.set_prune(choice);
}

void TowerBox::refresh() {
  const QSignalBlocker blocker(share_);
  const PruneChoice& choice = viewer_.prune();
  tower_->setCurrentIndex(tower_->findData(static_cast<int>(choice.tower)));
  share_->setValue(qRound(choice.tower_share * 100));
  share_->setEnabled(choice.prunes_tower() && choice.tower != Tower::adaptive);
  cuts_->setVisible(choice.tower == Tower::adaptive);
  for (std::size_t cut = 0; cut < thresholds_.size(); ++cut) {
    const QSignalBlocker of_threshold(thresholds_[cut]);
    thresholds_[cut]->setValue(choice.tower_thresholds[cut]);
  }
}

}  // namespace fovea::gui
