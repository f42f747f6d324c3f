// How maps are drawn.

#include <QCheckBox>
#include <QComboBox>
#include <QFormLayout>
#include <QPainter>
#include <QSignalBlocker>
#include <QSlider>

#include "gui/choice_box.h"
#include "gui/panels/panel_table.h"

namespace fovea::gui {
namespace {

QIcon swatch(ColorMap map) {
  QPixmap drawn(64, 12);
  QPainter painter(&drawn);
  for (int x = 0; x < drawn.width(); ++x) {
    const auto color = color_of(map, static_cast<double>(x) / (drawn.width() - 1));
    painter.fillRect(x, 0, 1, drawn.height(), QColor(color[0], color[1], color[2]));
  }
  return QIcon(drawn);
}

class ColorsPanel final : public QWidget {
 public:
  explicit ColorsPanel(Viewer& viewer) : view_(viewer.view()) {
    map_ = new ChoiceBox;
    map_->setIconSize(QSize(64, 12));
    map_->addItem(swatch(ColorMap::viridis), QObject::tr("viridis"));
    map_->addItem(swatch(ColorMap::inferno), QObject::tr("inferno"));
    map_->addItem(swatch(ColorMap::turbo), QObject::tr("turbo"));
    map_->addItem(swatch(ColorMap::gray), QObject::tr("grey"));
    map_->setToolTip(
        QObject::tr("Viridis, inferno and grey can be read without telling colours "
                    "apart"));
    opacity_ = new QSlider(Qt::Horizontal);
    opacity_->setRange(0, 100);
    opacity_->setToolTip(QObject::tr("Of the map where it is strongest"));
    reversed_ = new QCheckBox(QObject::tr("Reverse the colours"));
    reversed_->setToolTip(QObject::tr("The other end of the scale stands for high values"));
    fade_ = new QCheckBox(QObject::tr("Low values are transparent"));
    fade_->setToolTip(QObject::tr("Off: they darken the picture instead"));
    lift_ = new QCheckBox(QObject::tr("Lift faint values"));
    lift_->setToolTip(QObject::tr("Colours follow the square root of the value"));
    smooth_ = new QCheckBox(QObject::tr("Smooth between patches"));
    smooth_->setToolTip(QObject::tr("Off: each patch one flat colour, as the values are (N)"));
    range_ = new ChoiceBox;
    range_->addItem(QObject::tr("shared by all words"));
    range_->addItem(QObject::tr("each map its own"));
    range_->addItem(QObject::tr("up to the 99th percentile"));
    range_->setToolTip(QObject::tr("What the brightest colour stands for"));
    auto* form = new QFormLayout(this);
    form->addRow(QObject::tr("Colours"), map_);
    form->addRow(QObject::tr("Range"), range_);
    form->addRow(QObject::tr("Opacity"), opacity_);
    form->addRow(reversed_);
    form->addRow(fade_);
    form->addRow(lift_);
    form->addRow(smooth_);

    connect(map_, &QComboBox::activated, this, [this] { take(); });
    connect(range_, &QComboBox::activated, this, [this] { take(); });
    connect(opacity_, &QSlider::valueChanged, this, [this] { take(); });
    connect(reversed_, &QCheckBox::toggled, this, [this] { take(); });
    connect(fade_, &QCheckBox::toggled, this, [this] { take(); });
    connect(lift_, &QCheckBox::toggled, this, [this] { take(); });
    connect(smooth_, &QCheckBox::toggled, this, [this] { take(); });
    connect(&view_, &ViewState::display_changed, this, [this] { refresh(); });
    refresh();
  }

 private:
  void take() {
    Display display;
    display.color_map = static_cast<ColorMap>(map_->currentIndex());
    display.range = static_cast<Range>(range_->currentIndex());
    display.opacity = opacity_->value() / 100.0;
    display.reversed = reversed_->isChecked();
    display.fade = fade_->isChecked();
    display.lift = lift_->isChecked();
    display.smooth = smooth_->isChecked();
    view_.set_display(display);
  }

  void refresh() {
    const QSignalBlocker a(map_), b(range_), c(opacity_), d(fade_), e(smooth_), f(lift_),
        g(reversed_);
    const Display& display = view_.display();
    map_->setCurrentIndex(static_cast<int>(display.color_map));
    range_->setCurrentIndex(static_cast<int>(display.range));
    opacity_->setValue(static_cast<int>(display.opacity * 100 + 0.5));
    reversed_->setChecked(display.reversed);
    fade_->setChecked(display.fade);
    lift_->setChecked(display.lift);
    smooth_->setChecked(display.smooth);
  }

  ViewState& view_;
  QComboBox *map_, *range_;
  QSlider* opacity_;
  QCheckBox *reversed_, *fade_, *lift_, *smooth_;
};

}  // namespace

QWidget* make_colors_panel(Viewer& viewer) {
  return new ColorsPanel(viewer);
}

}  // namespace fovea::gui
