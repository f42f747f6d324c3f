#include "gui/tower_box.h"

#include <QGridLayout>
#include <QLabel>
#include <QSignalBlocker>

namespace fovea::gui {

using Tower = PruneChoice::Tower;

TowerBox::TowerBox(Viewer& viewer, QWidget* parent) : QWidget(parent), viewer_(viewer) {
  tower_ = new ChoiceBox;
  tower_->fit_panel();
  tower_->addItem(tr("all patches"), static_cast<int>(Tower::whole));
  tower_->addItem(tr("the best (topk)"), static_cast<int>(Tower::top_k));
  tower_->addItem(tr("drawn by lot"), static_cast<int>(Tower::random));
  tower_->addItem(tr("merged (ToMe)"), static_cast<int>(Tower::merged));
  tower_->setToolTip(
      tr("Patches that stay between the vision tower's blocks, beside what the method does later: "
         "the best by class attention (arXiv 2209.13802), some by lot, or like ones merged "
         "(arXiv 2210.09461)"));
  tower_->setAccessibleName(tr("Patches that stay in the tower"));
  share_ = new QSpinBox;
  share_->setRange(1, 100);
  share_->setSuffix(tr(" %"));
  share_->setToolTip(tr("Share of the patches left at the tower's end"));
  share_->setAccessibleName(tr("Share left in the tower"));
  auto* grid = new QGridLayout(this);
  grid->setContentsMargins(0, 0, 0, 0);
  grid->addWidget(new QLabel(tr("In the tower")), 0, 0);
  grid->addWidget(tower_, 0, 1);
  grid->addWidget(share_, 0, 2);
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
  viewer_.set_prune(choice);
}

void TowerBox::refresh() {
  const QSignalBlocker blocker(share_);
  const PruneChoice& choice = viewer_.prune();
  tower_->setCurrentIndex(tower_->findData(static_cast<int>(choice.tower)));
  share_->setValue(qRound(choice.tower_share * 100));
  share_->setEnabled(choice.prunes_tower());
}

}  // namespace fovea::gui
