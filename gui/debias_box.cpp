#include "gui/debias_box.h"

#include <QGridLayout>
#include <QLabel>
#include <QSignalBlocker>

#include "gui/choice_box.h"

namespace fovea::gui {
namespace {

constexpr double kFirstSigma = 1.2, kMostSigma = 5;

}  // namespace

DebiasBox::DebiasBox(Viewer& viewer, QWidget* parent) : QWidget(parent), viewer_(viewer) {
  debias_ = new QCheckBox(tr("Debias"));
  debias_->setToolTip(
      tr("Attention grows with a patch's place in the prompt: weigh scores against that before "
         "a cut (arXiv 2508.17807)"));
  sigma_ = new QDoubleSpinBox;
  sigma_->setRange(-kMostSigma, kMostSigma);
  sigma_->setSingleStep(0.1);
  sigma_->setDecimals(2);
  sigma_->setValue(kFirstSigma);
  sigma_->setPrefix(tr("sigma "));
  sigma_->setToolTip(tr("The weight of a patch falls to exp(-sigma) at the picture's end"));
  sigma_->setAccessibleName(tr("Debiasing strength"));
  padding_ = new QCheckBox(tr("Ignore padding"));
  padding_->setToolTip(tr("Patches beyond the picture's edge count as 0"));
  auto* against = new ChoiceBox;
  against->fit_panel();
  against_ = against;
  against_->addItem(tr("the unpruned answer"), static_cast<int>(Viewer::Against::unpruned));
  against_->addItem(tr("no debiasing"), static_cast<int>(Viewer::Against::biased));
  against_->addItem(tr("the guide's own answer"), static_cast<int>(Viewer::Against::guide));
  against_->setToolTip(tr("What stands beside a pruned answer while comparing (C)"));
  against_->setAccessibleName(tr("Compare with"));
  auto* grid = new QGridLayout(this);
  grid->setContentsMargins(0, 0, 0, 0);
  grid->addWidget(debias_, 0, 0);
  grid->addWidget(sigma_, 0, 1);
  grid->addWidget(padding_, 1, 0, 1, 2);
  grid->addWidget(new QLabel(tr("Compare with")), 2, 0);
  grid->addWidget(against_, 2, 1);
  grid->setColumnStretch(1, 1);

  connect(debias_, &QCheckBox::clicked, this, &DebiasBox::choose);
  connect(padding_, &QCheckBox::clicked, this, &DebiasBox::choose);
  connect(sigma_, &QDoubleSpinBox::valueChanged, this, &DebiasBox::choose);
  connect(against_, &QComboBox::activated, this, [this] {
    viewer_.set_against(static_cast<Viewer::Against>(against_->currentData().toInt()));
  });
  connect(&viewer_, &Viewer::prune_changed, this, &DebiasBox::refresh);
  refresh();
}

void DebiasBox::choose() {
  PruneChoice choice = viewer_.prune().without_debias();
  if (debias_->isChecked() && sigma_->value() != 0) choice.debias = sigma_->value();
  choice.ignore_padding = padding_->isChecked();
  viewer_.set_prune(choice);
}

void DebiasBox::refresh() {
  const QSignalBlocker a(sigma_), b(against_);
  const PruneChoice& choice = viewer_.prune();
  const bool possible = takes_debias(choice.method);
  debias_->setEnabled(possible);
  padding_->setEnabled(possible);
  debias_->setChecked(choice.debias.has_value());
  padding_->setChecked(choice.ignore_padding);
  sigma_->setEnabled(possible && choice.debias.has_value());
  if (choice.debias) sigma_->setValue(*choice.debias);
  against_->setCurrentIndex(against_->findData(static_cast<int>(viewer_.against())));
}

}  // namespace fovea::gui
