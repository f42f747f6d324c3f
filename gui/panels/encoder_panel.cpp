// The vision tower by itself: class, received and rollout maps, and how local each layer is.

#include <QComboBox>
#include <QDoubleSpinBox>
#include <QFormLayout>
#include <QLabel>
#include <QScrollArea>
#include <QSignalBlocker>
#include <QVBoxLayout>
#include <algorithm>
#include <numeric>

#include "gui/bar_list.h"
#include "gui/choice_box.h"
#include "gui/panels/panel_table.h"

namespace fovea::gui {
namespace {

using Map = EncoderChoice::Map;

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) /
         static_cast<double>(std::max<std::size_t>(values.size(), 1));
}

QString nmi_text(double nmi) {
  return QObject::tr("%1 %2").arg(nmi, 0, 'f', 3).arg(QString::fromLatin1(
      reach_name(reach_of(nmi))));
}

class EncoderPanel final : public QWidget {
 public:
  explicit EncoderPanel(Viewer& viewer) : viewer_(viewer) {
    map_ = new ChoiceBox;
    map_->addItem(QObject::tr("class token"), static_cast<int>(Map::class_token));
    map_->addItem(QObject::tr("received"), static_cast<int>(Map::received));
    map_->addItem(QObject::tr("rollout"), static_cast<int>(Map::rollout));
    map_->setToolTip(
        QObject::tr("What the class token looks at, what each patch receives from all, or how much "
                    "of each patch reaches the class token through all layers"));
    map_->setAccessibleName(QObject::tr("Map of the vision tower"));
    layer_ = new ChoiceBox;
    layer_->setToolTip(QObject::tr("One layer of the tower, or the mean of all"));
    layer_->setAccessibleName(QObject::tr("Layer of the vision tower"));
    head_ = new ChoiceBox;
    head_->setToolTip(QObject::tr("One head, or the mean of all"));
    head_->setAccessibleName(QObject::tr("Head of the vision tower"));
    fusion_ = new ChoiceBox;
    for (const HeadFusion fusion : {HeadFusion::mean, HeadFusion::max, HeadFusion::min}) {
      fusion_->addItem(QString::fromLatin1(head_fusion_name(fusion)), static_cast<int>(fusion));
    }
    fusion_->setToolTip(QObject::tr("How rollout makes one map of a layer's heads"));
    fusion_->setAccessibleName(QObject::tr("Fusion of heads"));
    discard_ = new QDoubleSpinBox;
    discard_->setRange(0, 0.99);
    discard_->setSingleStep(0.1);
    discard_->setToolTip(QObject::tr("Share of the lowest attention that rollout leaves out"));
    discard_->setAccessibleName(QObject::tr("Share left out"));
    auto* form = new QFormLayout;
    form->setContentsMargins(8, 6, 8, 2);
    form->addRow(QObject::tr("Map"), map_);
    form->addRow(QObject::tr("Layer"), layer_);
    form->addRow(QObject::tr("Head"), head_);
    form->addRow(QObject::tr("Fusion"), fusion_);
    form->addRow(QObject::tr("Leave out"), discard_);

    title_ = new QLabel;
    title_->setWordWrap(true);
    title_->setContentsMargins(8, 4, 8, 0);
    title_->setToolTip(
        QObject::tr("Normalised mutual information of queries and keys (arXiv 2502.02257): local "
                    "above 0.12, global below 0.06, hybrid between"));
    reach_ = new BarList;
    reach_->setAccessibleName(QObject::tr("Layers by how local their attention is"));
    auto* scroll = new QScrollArea;
    scroll->setWidget(reach_);
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    column->addLayout(form);
    column->addWidget(title_);
    column->addWidget(scroll, 1);

    for (QComboBox* box : {map_, layer_, head_, fusion_}) {
      connect(box, &QComboBox::activated, this, [this] { choose(); });
    }
    connect(discard_, &QDoubleSpinBox::valueChanged, this, [this] { choose(); });
    connect(reach_, &BarList::clicked, this, [this](int row) {
      layer_->setCurrentIndex(row + 1);
      choose();
    });
    connect(&viewer.encoder(), &EncoderReader::changed, this, [this] { refresh(); });
    connect(&viewer, &Viewer::shown_picture_changed, this, [this] { refresh(); });
    connect(&viewer.view(), &ViewState::selection_changed, this, [this] { refresh(); });
    refresh();
  }

 protected:
  void showEvent(QShowEvent* event) override {
    QWidget::showEvent(event);
    refresh();
  }

 private:
  void choose() {
    EncoderChoice choice;
    choice.map = static_cast<Map>(map_->currentData().toInt());
    choice.layer = layer_->currentIndex() - 1;
    choice.head = head_->currentIndex() - 1;
    choice.rollout.fusion = static_cast<HeadFusion>(fusion_->currentData().toInt());
    choice.rollout.discard = discard_->value();
    viewer_.view().choose_encoder(choice);
    viewer_.view().set_lens(Lens::encoder);
  }

  static void fill(QComboBox& box, const QString& name, std::int64_t count) {
    if (box.count() == count + 1) return;
    box.clear();
    box.addItem(QObject::tr("mean"));
    for (std::int64_t i = 0; i < count; ++i) box.addItem(name.arg(i));
  }

  void refresh() {
    // A tower is read only where somebody looks.
    if (!isVisible() && viewer_.view().lens() != Lens::encoder) return;
    const QSignalBlocker a(map_), b(layer_), c(head_), d(fusion_), e(discard_);
    const EncoderChoice& choice = viewer_.view().encoder();
    const PicturePtr picture = viewer_.shown_picture();
    const EncoderMapsPtr maps = viewer_.encoder().maps(picture, choice.rollout);
    fill(*layer_, QObject::tr("layer %1"), maps ? maps->layers : 0);
    fill(*head_, QObject::tr("head %1"), maps ? maps->heads : 0);
    for (std::size_t head = 0; maps && head < static_cast<std::size_t>(maps->heads); ++head) {
      const bool one_layer = choice.layer >= 0 && choice.layer < maps->layers;
      const QString name = QObject::tr("head %1").arg(head);
      head_->setItemText(static_cast<int>(head) + 1,
                         one_layer ? QObject::tr("%1 \u00b7 %2").arg(
                                         name, nmi_text(maps->nmi[static_cast<std::size_t>(
                                                   choice.layer)][head]))
                                   : name);
    }
    const bool rollout = choice.map == Map::rollout;
    map_->setCurrentIndex(map_->findData(static_cast<int>(choice.map)));
    layer_->setCurrentIndex(std::min(choice.layer + 1, layer_->count() - 1));
    head_->setCurrentIndex(std::min(choice.head + 1, head_->count() - 1));
    fusion_->setCurrentIndex(fusion_->findData(static_cast<int>(choice.rollout.fusion)));
    discard_->setValue(choice.rollout.discard);
    layer_->setEnabled(!rollout);
    head_->setEnabled(!rollout);
    fusion_->setEnabled(rollout);
    discard_->setEnabled(rollout);
    setEnabled(picture != nullptr);
    title_->setText(!picture ? QObject::tr("Open a picture to read the vision tower.")
                    : maps   ? QObject::tr("How local each layer's attention is (NMI)")
                             : QObject::tr("Reading the vision tower \u2026"));
    std::vector<BarList::Bar> bars;
    double most = 0;
    for (std::size_t layer = 0; maps && layer < maps->nmi.size(); ++layer) {
      most = std::max(most, mean_of(maps->nmi[layer]));
    }
    for (std::size_t layer = 0; maps && layer < maps->nmi.size(); ++layer) {
      const double nmi = mean_of(maps->nmi[layer]);
      bars.push_back({QString::number(layer), nmi_text(nmi), most > 0 ? nmi / most : 0,
                      static_cast<int>(layer) == choice.layer});
    }
    reach_->set_bars(std::move(bars));
  }

  Viewer& viewer_;
  QComboBox *map_, *layer_, *head_, *fusion_;
  QDoubleSpinBox* discard_;
  QLabel* title_;
  BarList* reach_;
};

}  // namespace

QWidget* make_encoder_panel(Viewer& viewer) {
  return new EncoderPanel(viewer);
}

}  // namespace fovea::gui
