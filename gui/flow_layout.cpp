#include "gui/flow_layout.h"

#include <QWidget>

namespace fovea::gui {

QLayoutItem* FlowLayout::itemAt(int index) const {
  return index >= 0 && index < count() ? items_[static_cast<std::size_t>(index)].get() : nullptr;
}

QLayoutItem* FlowLayout::takeAt(int index) {
  if (itemAt(index) == nullptr) return nullptr;
  QLayoutItem* taken = items_[static_cast<std::size_t>(index)].release();
  items_.erase(items_.begin() + index);
  return taken;
}

QSize FlowLayout::minimumSize() const {
  QSize size;
  for (const auto& item : items_) size = size.expandedTo(item->minimumSize());
  const QMargins margins = contentsMargins();
  return size + QSize(margins.left() + margins.right(), margins.top() + margins.bottom());
}

void FlowLayout::setGeometry(const QRect& rect) {
  QLayout::setGeometry(rect);
  arrange(rect, true);
}

int FlowLayout::arrange(const QRect& rect, bool apply) const {
  const QRect inside = rect.marginsRemoved(contentsMargins());
  const int gap = std::max(spacing(), 0);
  int x = inside.x(), y = inside.y(), line = 0;
  for (const auto& item : items_) {
    const QSize size = item->sizeHint().boundedTo(QSize(inside.width(), QWIDGETSIZE_MAX));
    if (x > inside.x() && x + size.width() > inside.right() + 1) {
      x = inside.x();
      y += line + gap;
      line = 0;
    }
    if (apply) item->setGeometry(QRect(QPoint(x, y), size));
    x += size.width() + gap;
    line = std::max(line, size.height());
  }
  return y + line - rect.y() + contentsMargins().bottom();
}

}  // namespace fovea::gui
