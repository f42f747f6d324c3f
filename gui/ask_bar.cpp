#include "gui/ask_bar.h"

#include <QCompleter>
#include <QHBoxLayout>
#include <QResizeEvent>
#include <QSignalBlocker>
#include <QStringListModel>

#include "gui/choice_box.h"
#include "gui/icons.h"

namespace fovea::gui {
namespace {

constexpr int kMostBudget = 4096;
constexpr int kLeastQuestion = 220;  // pixels

}  // namespace

AskBar::AskBar(Viewer& viewer, QWidget* parent) : QWidget(parent), viewer_(viewer) {
  question_ = new QLineEdit;
  question_->setPlaceholderText(tr("Ask about the picture"));
  question_->setClearButtonEnabled(true);
  question_->setMaxLength(4000);
  question_->setAccessibleName(tr("Question"));
  question_->setToolTip(tr("Enter asks; Ctrl+L comes here from anywhere"));
  auto* completer = new QCompleter(viewer_.settings().get("recent/questions").toStringList(), this);
  completer->setCaseSensitivity(Qt::CaseInsensitive);
  completer->setFilterMode(Qt::MatchContains);
  question_->setCompleter(completer);

  method_ = new ChoiceBox;
  method_->setToolTip(tr("Which visual tokens survive: how the next question is pruned"));
  method_->setAccessibleName(tr("Pruning method"));
  method_->addItem(tr("No pruning"), QString());
  for (const Method& method : methods()) {
    if (method.needs_config) continue;
    const QString name = QString::fromLatin1(method.name);
    method_->addItem(name, name);
    method_->setItemData(method_->count() - 1, QString::fromUtf8(method.summary), Qt::ToolTipRole);
  }
  budget_ = new QSpinBox;
  budget_->setRange(0, kMostBudget);
  budget_->setSpecialValueText(tr("as published"));
  budget_->setSuffix(tr(" tokens"));
  budget_->setToolTip(tr("Visual tokens that enter each layer on average"));
  budget_->setAccessibleName(tr("Token budget"));
  compare_ = new QCheckBox(tr("Compare"));
  compare_->setObjectName(QStringLiteral("compare"));
  compare_->setToolTip(tr("Ask without pruning, too, and show both side by side (C)"));
  follow_up_ = new QCheckBox(tr("Follow up"));
  follow_up_->setToolTip(tr("Go on after the last answer instead of starting anew"));
  button_ = new QPushButton;
  button_->setMinimumWidth(84);

  controls_ = new QWidget;
  auto* row = new QHBoxLayout(controls_);
  row->setContentsMargins(0, 0, 0, 0);
  row->setSpacing(6);
  row->addWidget(follow_up_);
  row->addWidget(method_);
  row->addWidget(budget_);
  row->addWidget(compare_);
  row->addStretch(1);
  grid_ = new QGridLayout(this);
  grid_->setContentsMargins(8, 4, 8, 8);
  grid_->setSpacing(6);
  grid_->addWidget(question_, 0, 0);
  grid_->addWidget(button_, 0, 2);
  grid_->setColumnStretch(0, 1);
  grid_->addWidget(controls_, 0, 1);

  connect(question_, &QLineEdit::returnPressed, this, [this] {
    if (!viewer_.busy()) act();
  });
  connect(button_, &QPushButton::clicked, this, &AskBar::act);
  connect(method_, &QComboBox::activated, this, &AskBar::choose_prune);
  connect(budget_, &QSpinBox::valueChanged, this, &AskBar::choose_prune);
  connect(compare_, &QCheckBox::toggled, &viewer_, &Viewer::set_comparing);
  connect(follow_up_, &QCheckBox::toggled, &viewer_, &Viewer::set_follow_up);
  connect(&viewer_, &Viewer::busy_changed, this, &AskBar::refresh);
  connect(&viewer_, &Viewer::prune_changed, this, &AskBar::refresh);
  refresh();
}

void AskBar::place_controls(bool below) {
  if (below == below_) return;
  below_ = below;
  grid_->removeWidget(controls_);
  if (below) {
    grid_->addWidget(controls_, 1, 0, 1, 3);
  } else {
    grid_->addWidget(controls_, 0, 1);
  }
}

void AskBar::resizeEvent(QResizeEvent* event) {
  QWidget::resizeEvent(event);
  const int wanted = controls_->sizeHint().width() + button_->sizeHint().width() + kLeastQuestion;
  place_controls(event->size().width() < wanted);
}

void AskBar::act() {
  if (viewer_.busy()) {
    viewer_.stop();
    return;
  }
  viewer_.ask(question_->text());
  question_->selectAll();
  auto* recent = qobject_cast<QStringListModel*>(question_->completer()->model());
  if (recent != nullptr) {
    recent->setStringList(viewer_.settings().get("recent/questions").toStringList());
  }
}

void AskBar::choose_prune() {
  PruneChoice choice = viewer_.prune();
  const QString method = method_->currentData().toString();
  if (method != choice.method) {
    choice.preset.clear();
    if (!takes_debias(method)) choice = choice.without_debias();
    choice.exit_threshold.reset();
    choice.exit_by_confidence = false;
  }
  choice.method = method;
  choice.budget.reset();
  if (budget_->value() > 0) choice.budget = budget_->value();
  viewer_.set_prune(choice);
}

void AskBar::refresh() {
  const QSignalBlocker a(method_), b(budget_), c(compare_), d(follow_up_);
  const PruneChoice& prune = viewer_.prune();
  method_->setCurrentIndex(std::max(0, method_->findData(prune.method)));
  budget_->setValue(static_cast<int>(prune.budget.value_or(0)));
  budget_->setEnabled(!prune.method.isEmpty());
  compare_->setChecked(viewer_.comparing());
  follow_up_->setChecked(viewer_.follow_up());
  const bool busy = viewer_.busy();
  button_->setText(busy ? tr("Stop") : tr("Ask"));
  button_->setIcon(icon(busy ? Glyph::stop : Glyph::ask));
  button_->setToolTip(busy ? tr("Stop the answer (Esc)") : tr("Ask (Enter)"));
}

}  // namespace fovea::gui
