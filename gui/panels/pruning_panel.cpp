// What was kept at each stage of the answer on screen, and the user's own choice of patches.

#include <QComboBox>
#include <QFormLayout>
#include <QGroupBox>
#include <QLabel>
#include <QPushButton>
#include <QScrollArea>
#include <QSignalBlocker>
#include <QSlider>
#include <QStyle>
#include <QVBoxLayout>

#include "gui/bar_list.h"
#include "gui/choice_box.h"
#include "gui/debias_box.h"
#include "gui/guide_box.h"
#include "gui/painting_box.h"
#include "gui/panels/panel_table.h"
#include "gui/tower_box.h"

namespace fovea::gui {
namespace {

class PruningPanel final : public QWidget {
 public:
  explicit PruningPanel(Viewer& viewer) : viewer_(viewer) {
    auto* inside = new QWidget;
    auto* column = new QVBoxLayout(inside);
    column->setContentsMargins(8, 6, 8, 8);

    auto* preset = new ChoiceBox;
    preset->fit_panel();
    preset_ = preset;
    preset_->setToolTip(
        QObject::tr("Published schedule of the chosen method, scaled to this model"));
    summary_ = new QLabel;
    summary_->setWordWrap(true);
    auto* next = new QGroupBox(QObject::tr("Next question"));
    auto* form = new QFormLayout(next);
    form->addRow(summary_);
    form->addRow(QObject::tr("Schedule"), preset_);
    form->addRow(new GuideBox(viewer));
    form->addRow(new TowerBox(viewer));
    form->addRow(new DebiasBox(viewer));
    column->addWidget(next);

    auto* shown = new QGroupBox(QObject::tr("This answer"));
    auto* lines = new QVBoxLayout(shown);
    stage_name_ = new QLabel;
    stage_name_->setWordWrap(true);
    stage_ = new QSlider(Qt::Horizontal);
    stage_->setTickPosition(QSlider::TicksBelow);
    stage_->setPageStep(1);
    stage_->setToolTip(QObject::tr("Stages that have acted (Ctrl+[ and Ctrl+])"));
    stage_->setAccessibleName(QObject::tr("Pruning stage"));
    entering_ = new BarList;
    entering_->setAccessibleName(QObject::tr("Visual tokens entering each layer"));
    guide_ = new QLabel;
    guide_->setWordWrap(true);
    lines->addWidget(guide_);
    lines->addWidget(stage_name_);
    lines->addWidget(stage_);
    lines->addWidget(new QLabel(QObject::tr("Visual tokens entering each layer")));
    lines->addWidget(entering_);
    column->addWidget(new PaintingBox(viewer));
    column->addWidget(shown);
    column->addStretch(1);

    auto* scroll = new QScrollArea;
    scroll->setWidget(inside);
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    scroll->setMinimumWidth(inside->minimumSizeHint().width() +
                            style()->pixelMetric(QStyle::PM_ScrollBarExtent));
    auto* whole = new QVBoxLayout(this);
    whole->setContentsMargins(0, 0, 0, 0);
    whole->addWidget(scroll);

    connect(preset_, &QComboBox::activated, this, [this] {
      PruneChoice choice = viewer_.prune();
      choice.preset = preset_->currentData().toString();
      choice.budget.reset();
      viewer_.set_prune(choice);
    });
    connect(stage_, &QSlider::valueChanged, this, [this](int stage) {
      viewer_.view().set_lens(Lens::kept);
      viewer_.view().set_stage(stage);
    });
    connect(&viewer, &Viewer::prune_changed, this, [this] { refresh_next(); });
    connect(&viewer.view(), &ViewState::runs_changed, this, [this] { refresh_run(); });
    connect(&viewer.view(), &ViewState::selection_changed, this, [this] { refresh_run(); });
    refresh_next();
    refresh_run();
  }

 private:
  void refresh_next() {
    const QSignalBlocker blocker(preset_);
    const PruneChoice& choice = viewer_.prune();
    const Method* method = find_method(choice.method.toStdString());
    preset_->clear();
    preset_->setEnabled(method != nullptr && !choice.budget);
    if (method == nullptr) {
      summary_->setText(QObject::tr("No method prunes. Choose one beside the question."));
      return;
    }
    QString text = choice.needs_guide()
                       ? QObject::tr("A small model answers first and ranks the patches")
                       : QString::fromUtf8(method->summary);
    if (*method->paper != '\0') text += QStringLiteral(" (arXiv %1)").arg(method->paper);
    if (choice.budget) {
      text += QObject::tr("\nCounts are solved for %1 tokens a layer.").arg(*choice.budget);
    }
    summary_->setText(text);
    for (const SchedulePreset& preset : method->presets()) {
      const QString name = QString::fromStdString(preset.name);
      const bool standard = preset.name == method->default_preset;
      preset_->addItem(standard ? QObject::tr("%1 (default)").arg(name) : name,
                       standard ? QString() : name);
    }
    preset_->setCurrentIndex(std::max(0, preset_->findData(choice.preset)));
  }

  void refresh_run() {
    const QSignalBlocker blocker(stage_);
    const RunPtr& run = viewer_.view().run();
    const auto& stages = run ? run->answer.pruning.stages : std::vector<StageRecord>();
    stage_->setRange(0, static_cast<int>(stages.size()));
    stage_->setEnabled(!stages.empty());
    stage_->setValue(viewer_.view().stage());
    guide_->setText(run ? guide_text(*run) : QString());
    guide_->setVisible(!guide_->text().isEmpty());
    if (!run) {
      stage_name_->setText(QObject::tr("No answer yet."));
      entering_->set_bars({});
      return;
    }
    if (run->by_guide()) {
      stage_name_->setText(QObject::tr("The large model did not run."));
    } else if (stages.empty()) {
      stage_name_->setText(QObject::tr("Nothing was pruned."));
    } else if (viewer_.view().stage() == 0) {
      stage_name_->setText(
          QObject::tr("Before any stage: %1 patches").arg(run->answer.pruning.initial));
    } else {
      const StageRecord& record = stages[static_cast<std::size_t>(viewer_.view().stage() - 1)];
      stage_name_->setText(QObject::tr("Stage %1 of %2 (%3 layer %4): %5 kept")
                               .arg(viewer_.view().stage())
                               .arg(stages.size())
                               .arg(QString::fromLatin1(hook_name(record.when)))
                               .arg(record.layer)
                               .arg(record.kept.size()));
    }
    std::vector<BarList::Bar> bars;
    const double most = static_cast<double>(std::max<std::int64_t>(run->answer.pruning.initial, 1));
    for (std::size_t layer = 0; layer < run->answer.budget.entering.size(); ++layer) {
      const auto count = run->answer.budget.entering[layer];
      bars.push_back({QString::number(layer), QString::number(count),
                      static_cast<double>(count) / most, false});
    }
    entering_->set_bars(std::move(bars));
  }

  Viewer& viewer_;
  QComboBox* preset_;
  QLabel *summary_, *guide_, *stage_name_;
  QSlider* stage_;
  BarList* entering_;
};

}  // namespace

QWidget* make_pruning_panel(Viewer& viewer) {
  return new PruningPanel(viewer);
}

}  // namespace fovea::gui
