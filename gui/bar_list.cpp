#include "gui/bar_list.h"

#include <QMouseEvent>
#include <QPainter>
#include <algorithm>
#include <utility>

#include "gui/theme.h"

namespace fovea::gui {
namespace {

constexpr int kMargin = 8;

}  // namespace

BarList::BarList(QWidget* parent) : QWidget(parent) {
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
}

void BarList::set_bars(std::vector<Bar> bars) {
  bars_ = std::move(bars);
  QStringList text;
  for (const Bar& bar : bars_) text << bar.label + QLatin1Char(' ') + bar.value;
  setAccessibleDescription(text.join(QStringLiteral(", ")));
  updateGeometry();
  update();
}

QSize BarList::sizeHint() const {
  return {220, static_cast<int>(bars_.size()) * row_height() + 8};
}

void BarList::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.setRenderHint(QPainter::Antialiasing);
  const QFontMetrics metrics = fontMetrics();
  int labels = 0, values = 0;
  for (const Bar& bar : bars_) {
    labels = std::max(labels, metrics.horizontalAdvance(bar.label));
    values = std::max(values, metrics.horizontalAdvance(bar.value));
  }
  labels = std::min(labels, width() / 2);
  const double left = kMargin + labels + kMargin;
  const double most = std::max(8.0, width() - left - values - 2 * kMargin);
  for (std::size_t i = 0; i < bars_.size(); ++i) {
    const Bar& bar = bars_[i];
    const int y = 4 + static_cast<int>(i) * row_height();
    if (bar.marked) {
      QColor fill = palette().color(QPalette::Highlight);
      fill.setAlpha(45);
      painter.fillRect(0, y, width(), row_height(), fill);
    }
    painter.setPen(palette().color(QPalette::WindowText));
    painter.drawText(QRect(kMargin, y, labels, row_height()), Qt::AlignVCenter | Qt::AlignRight,
                     metrics.elidedText(bar.label, Qt::ElideRight, labels));
    painter.setPen(Qt::NoPen);
    painter.setBrush(palette().color(QPalette::Highlight));
    const double length = std::max(1.5, most * std::clamp(bar.length, 0.0, 1.0));
    painter.drawRoundedRect(QRectF(left, y + row_height() / 2.0 - 4, length, 8), 2, 2);
    painter.setPen(muted(palette()));
    painter.drawText(QRectF(left + length + 6, y, values + kMargin, row_height()),
                     Qt::AlignVCenter | Qt::AlignLeft, bar.value);
  }
}

void BarList::mousePressEvent(QMouseEvent* event) {
  const int row = (static_cast<int>(event->position().y()) - 4) / row_height();
  if (row >= 0 && row < static_cast<int>(bars_.size())) Q_EMIT clicked(row);
}

}  // namespace fovea::gui
