#include "gui/painting_box.h"

#include <QGridLayout>

#include "gui/icons.h"

namespace fovea::gui {

PaintingBox::PaintingBox(Viewer& viewer, QWidget* parent)
    : QGroupBox(tr("Chosen by hand"), parent), viewer_(viewer) {
  count_ = new QLabel;
  count_->setWordWrap(true);
  paint_ = new QPushButton(icon(Glyph::paint), tr("Paint"));
  paint_->setCheckable(true);
  paint_->setToolTip(
      tr("Drag over the picture to keep patches; Ctrl or the right button drops (K)"));
  from_stage_ = new QPushButton(tr("From this stage"));
  from_stage_->setToolTip(tr("Start from the patches that are kept at the stage on screen"));
  clear_ = new QPushButton(tr("Clear"));
  clear_->setToolTip(tr("No patch is chosen"));
  ask_ = new QPushButton(icon(Glyph::ask), tr("Ask with these"));
  ask_->setToolTip(tr("The question once more, with only these patches (Ctrl+K)"));
  auto* grid = new QGridLayout(this);
  grid->addWidget(count_, 0, 0, 1, 2);
  grid->addWidget(paint_, 1, 0);
  grid->addWidget(from_stage_, 1, 1);
  grid->addWidget(clear_, 2, 0);
  grid->addWidget(ask_, 2, 1);

  ViewState& view = viewer_.view();
  connect(paint_, &QPushButton::clicked, &view, &ViewState::set_painting);
  connect(from_stage_, &QPushButton::clicked, this, &PaintingBox::start_from_stage);
  connect(clear_, &QPushButton::clicked, &view, &ViewState::clear_painted);
  connect(ask_, &QPushButton::clicked, &viewer_, &Viewer::ask_with_painted);
  connect(&view, &ViewState::painted_changed, this, &PaintingBox::refresh);
  connect(&view, &ViewState::runs_changed, this, &PaintingBox::refresh);
  connect(&view, &ViewState::selection_changed, this, &PaintingBox::refresh);
  connect(&viewer_, &Viewer::busy_changed, this, &PaintingBox::refresh);
  refresh();
}

void PaintingBox::start_from_stage() {
  ViewState& view = viewer_.view();
  const RunPtr& run = view.run();
  if (!run || view.stage() == 0) return;
  const auto& kept = run->answer.pruning.stages[static_cast<std::size_t>(view.stage() - 1)].kept;
  view.clear_painted();
  view.paint({kept.begin(), kept.end()}, true);
  view.set_painting(true);
}

void PaintingBox::refresh() {
  const ViewState& view = viewer_.view();
  const RunPtr& run = view.run();
  const std::size_t painted = view.painted().size();
  count_->setText(!run ? tr("Ask first; then choose what the model may see.")
                  : painted == 0
                      ? tr("Nothing chosen: paint the patches that the model may see.")
                      : tr("%1 of %2 patches").arg(painted).arg(run->layout().visual.size()));
  paint_->setEnabled(run != nullptr);
  paint_->setChecked(view.painting());
  from_stage_->setEnabled(run && view.stage() > 0);
  clear_->setEnabled(painted > 0);
  ask_->setEnabled(run && painted > 0 && !viewer_.busy());
}

}  // namespace fovea::gui
