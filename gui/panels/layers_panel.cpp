// Layer slider, head choice, and all layers and heads at once.

#include <QComboBox>
#include <QGridLayout>
#include <QLabel>
#include <QScrollArea>
#include <QSignalBlocker>
#include <QSlider>
#include <QVBoxLayout>

#include "gui/choice_box.h"
#include "gui/head_grid.h"
#include "gui/panels/panel_table.h"

namespace fovea::gui {
namespace {

class LayersPanel final : public QWidget {
 public:
  explicit LayersPanel(Viewer& viewer) : viewer_(viewer) {
    layer_ = new QSlider(Qt::Horizontal);
    layer_->setMinimum(MapChoice::kMeanOfLayers);
    layer_->setPageStep(4);
    layer_->setToolTip(QObject::tr("Far left: the mean of the later layers ([ and ])"));
    layer_->setAccessibleName(QObject::tr("Layer"));
    layer_name_ = new QLabel;
    heads_ = new ChoiceBox;
    heads_->setToolTip(QObject::tr("Mean, largest, or one head (comma and full stop)"));
    heads_->setAccessibleName(QObject::tr("Heads"));
    auto* controls = new QGridLayout;
    controls->setContentsMargins(8, 6, 8, 2);
    controls->addWidget(new QLabel(QObject::tr("Layer")), 0, 0);
    controls->addWidget(layer_, 0, 1);
    controls->addWidget(layer_name_, 1, 1);
    controls->addWidget(new QLabel(QObject::tr("Heads")), 2, 0);
    controls->addWidget(heads_, 2, 1);
    controls->setColumnStretch(1, 1);
    auto* scroll = new QScrollArea;
    scroll->setWidget(new HeadGrid(viewer));
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    column->addLayout(controls);
    column->addWidget(scroll, 1);

    connect(layer_, &QSlider::valueChanged, this, [this](int layer) {
      MapChoice choice = viewer_.view().choice();
      choice.layer = layer;
      viewer_.view().set_lens(Lens::attention);
      viewer_.view().choose(choice);
    });
    connect(heads_, &QComboBox::activated, this, [this](int index) {
      MapChoice choice = viewer_.view().choice();
      choice.heads = index == 0   ? HeadChoice{HeadChoice::Kind::mean, 0}
                     : index == 1 ? HeadChoice{HeadChoice::Kind::max, 0}
                                  : HeadChoice{HeadChoice::Kind::one, index - 2};
      viewer_.view().set_lens(Lens::attention);
      viewer_.view().choose(choice);
    });
    connect(&viewer.view(), &ViewState::runs_changed, this, [this] { refresh(); });
    connect(&viewer.view(), &ViewState::selection_changed, this, [this] { refresh(); });
    refresh();
  }

  QSize sizeHint() const override { return {300, 360}; }

 private:
  void refresh() {
    const QSignalBlocker a(layer_), b(heads_);
    const RunPtr& run = viewer_.view().run();
    const int layers = run ? run->model->layers : 0, heads = run ? run->model->heads : 0;
    setEnabled(run != nullptr);
    layer_->setMaximum(std::max(0, layers - 1));
    if (heads_->count() != heads + 2) {
      heads_->clear();
      heads_->addItem(QObject::tr("mean of heads"));
      heads_->addItem(QObject::tr("largest of heads"));
      for (int head = 0; head < heads; ++head) heads_->addItem(QObject::tr("head %1").arg(head));
    }
    const MapChoice& choice = viewer_.view().choice();
    layer_->setValue(choice.layer);
    layer_name_->setText(run ? layer_text(choice, layers) : QObject::tr("no answer yet"));
    heads_->setCurrentIndex(choice.heads.kind == HeadChoice::Kind::mean  ? 0
                            : choice.heads.kind == HeadChoice::Kind::max ? 1
                                                                         : 2 + choice.heads.head);
  }

  Viewer& viewer_;
  QSlider* layer_;
  QLabel* layer_name_;
  QComboBox* heads_;
};

}  // namespace

QWidget* make_layers_panel(Viewer& viewer) {
  return new LayersPanel(viewer);
}

}  // namespace fovea::gui
