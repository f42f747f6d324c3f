#include "gui/head_grid.h"

#include <QHelpEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QToolTip>
#include <algorithm>
#include <cmath>

#include "gui/overlay_scene.h"
#include "gui/theme.h"

namespace fovea::gui {
namespace {

constexpr int kLabels = 22;  // width and height of the numbers at the edges
constexpr double kLargest = 44, kSmallest = 12;

}  // namespace

HeadGrid::HeadGrid(Viewer& viewer, QWidget* parent) : QWidget(parent), viewer_(viewer) {
  setAccessibleName(tr("Attention maps by layer and head"));
  setMouseTracking(true);
  ViewState& view = viewer_.view();
  connect(&view, &ViewState::runs_changed, this, &HeadGrid::refresh);
  connect(&view, &ViewState::selection_changed, this, &HeadGrid::refresh);
  connect(&view, &ViewState::display_changed, this, &HeadGrid::refresh);
  connect(&viewer_.maps(), &MapStore::ready, this, [this](int run, int token) {
    const RunPtr& shown = viewer_.view().run();
    const int wanted = std::max(0, viewer_.view().token());
    if (shown && shown->id == run && token == wanted && !maps_) refresh();
  });
  refresh();
}

void HeadGrid::refresh() {
  const RunPtr& run = viewer_.view().run();
  maps_.reset();
  images_.clear();
  const int layers = layers_, heads = heads_;
  layers_ = run && run->model ? run->model->layers : 0;
  heads_ = run && run->model ? run->model->heads : 0;
  // There is no map of the whole answer by layer and head: its first word stands for it.
  if (run && run->has_trace() && run->words() > 0) {
    maps_ = viewer_.maps().maps(run->id, std::max(0, viewer_.view().token()));
  }
  if (maps_) {
    const Run::Grid grid = run->grid(viewer_.picture_in(*run));
    const ColorMap color_map = viewer_.view().display().color_map;
    for (int layer = 0; layer < layers_; ++layer) {
      for (int head = 0; head < heads_; ++head) {
        const float* row = maps_->row(layer, head);
        const std::vector<float> values(row, row + maps_->visual);
        images_.push_back(thumbnail_image(place_on_grid(values, grid), color_map));
      }
    }
  }
  if (layers != layers_ || heads != heads_) updateGeometry();
  update();
}

double HeadGrid::side(int width) const {
  if (heads_ == 0) return kSmallest;
  return std::clamp(std::floor((width - kLabels - 4.0) / heads_), kSmallest, kLargest);
}

QSize HeadGrid::sizeHint() const {
  return {kLabels + 4 + 30 * std::max(heads_, 1), heightForWidth(kLabels + 4 + 30 * heads_)};
}

QSize HeadGrid::largest_size() const {
  const int width = kLabels + 4 + static_cast<int>(kLargest) * heads_;
  return {width, heightForWidth(width)};
}

int HeadGrid::heightForWidth(int width) const {
  return kLabels + 4 + static_cast<int>(side(width)) * layers_;
}

QRectF HeadGrid::cell_rect(int layer, int head) const {
  const double edge = side(width());
  return {kLabels + head * edge, kLabels + layer * edge, edge, edge};
}

std::pair<int, int> HeadGrid::cell_at(QPointF point) const {
  const double edge = side(width());
  const int head = static_cast<int>(std::floor((point.x() - kLabels) / edge));
  const int layer = static_cast<int>(std::floor((point.y() - kLabels) / edge));
  if (head < 0 || head >= heads_ || layer < 0 || layer >= layers_) return {-1, -1};
  return {layer, head};
}

void HeadGrid::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  if (layers_ == 0) {
    painter.setPen(muted(palette()));
    painter.drawText(rect(), Qt::AlignCenter | Qt::TextWordWrap,
                     tr("Ask something to see every layer and head"));
    return;
  }
  QFont small = font();
  small.setPointSizeF(small.pointSizeF() * 0.8);
  painter.setFont(small);
  painter.setPen(muted(palette()));
  const double edge = side(width());
  // Numbers that fit, the first always.
  const int every = std::max(1, static_cast<int>(std::ceil(18.0 / edge)));
  for (int head = 0; head < heads_; head += every) {
    painter.drawText(QRectF(kLabels + head * edge, 0, edge * every, kLabels - 2),
                     Qt::AlignLeft | Qt::AlignBottom, QStringLiteral(" %1").arg(head));
  }
  for (int layer = 0; layer < layers_; layer += every) {
    painter.drawText(QRectF(0, kLabels + layer * edge, kLabels - 4, edge),
                     Qt::AlignRight | Qt::AlignVCenter, QString::number(layer));
  }
  painter.setRenderHint(QPainter::SmoothPixmapTransform, edge < 24);
  for (int layer = 0; layer < layers_; ++layer) {
    for (int head = 0; head < heads_; ++head) {
      const QRectF cell = cell_rect(layer, head).adjusted(1, 1, -1, -1);
      painter.fillRect(cell, hairline(palette()));
      const auto index = static_cast<std::size_t>(layer * heads_ + head);
      if (index < images_.size()) painter.drawImage(cell, images_[index]);
    }
  }
  // What is chosen: one map, a row (all heads of a layer), a column, or everything.
  const MapChoice& choice = viewer_.view().choice();
  const bool one_head = choice.heads.kind == HeadChoice::Kind::one;
  const bool one_layer = choice.layer != MapChoice::kMeanOfLayers;
  if (!one_head && !one_layer) return;
  const QRectF from = cell_rect(one_layer ? choice.layer : 0, one_head ? choice.heads.head : 0);
  const QRectF to =
      cell_rect(one_layer ? choice.layer : layers_ - 1, one_head ? choice.heads.head : heads_ - 1);
  painter.setPen(QPen(palette().color(QPalette::Highlight), 2));
  painter.setBrush(Qt::NoBrush);
  painter.drawRect(from.united(to));
}

void HeadGrid::mousePressEvent(QMouseEvent* event) {
  const auto [layer, head] = cell_at(event->position());
  if (layer < 0) return;
  MapChoice choice{layer, {HeadChoice::Kind::one, head}};
  // A second click on the same map goes back to the means.
  if (choice == viewer_.view().choice()) choice = MapChoice{};
  viewer_.view().set_lens(Lens::attention);
  viewer_.view().choose(choice);
}

bool HeadGrid::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip) {
    const auto* help = static_cast<QHelpEvent*>(event);
    const auto [layer, head] = cell_at(help->pos());
    if (layer >= 0 && maps_) {
      const MapChoice choice{layer, {HeadChoice::Kind::one, head}};
      QToolTip::showText(help->globalPos(),
                         tr("layer %1, head %2: %3 % of its attention is on the picture\n"
                            "each small map has its own range")
                             .arg(layer)
                             .arg(head)
                             .arg(100 * attention_share(*maps_, choice), 0, 'f', 1),
                         this);
    } else {
      QToolTip::hideText();
    }
    return true;
  }
  return QWidget::event(event);
}

}  // namespace fovea::gui
