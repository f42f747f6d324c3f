#include "gui/picture_view.h"

#include <QGestureEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QPainterPath>
#include <QPinchGesture>
#include <cmath>
#include <utility>

#include "gui/theme.h"

namespace fovea::gui {
namespace {

constexpr double kWheelFactor = 1.2;  // per notch
constexpr int kHatchPeriod = 9;

/// Diagonal lines, drawn by ourselves because the built-in patterns vanish on dense screens.
QBrush hatch(bool rising, double ratio) {
  const int side = kHatchPeriod;
  QPixmap tile(QSize(side, side) * ratio);
  tile.setDevicePixelRatio(ratio);
  tile.fill(Qt::transparent);
  QPainter painter(&tile);
  painter.setRenderHint(QPainter::Antialiasing);
  painter.setPen(QPen(QColor(255, 255, 255, 120), 1.2));
  for (int shift = -side; shift <= side; shift += side) {
    if (rising) {
      painter.drawLine(QPointF(shift - 1, side + 1), QPointF(shift + side + 1, -1));
    } else {
      painter.drawLine(QPointF(shift - 1, -1), QPointF(shift + side + 1, side + 1));
    }
  }
  return QBrush(tile);
}

QBrush dots(double ratio) {
  const int side = kHatchPeriod;
  QPixmap tile(QSize(side, side) * ratio);
  tile.setDevicePixelRatio(ratio);
  tile.fill(Qt::transparent);
  QPainter painter(&tile);
  painter.setRenderHint(QPainter::Antialiasing);
  painter.setPen(Qt::NoPen);
  painter.setBrush(QColor(255, 255, 255, 150));
  painter.drawEllipse(QPointF(side / 2.0, side / 2.0), 1.3, 1.3);
  return QBrush(tile);
}

bool is_there(CellState state) {
  return state == CellState::present || state == CellState::absent;
}

}  // namespace

PictureView::PictureView(ViewTransform& transform, QWidget* parent)
    : QWidget(parent), transform_(transform) {
  setMouseTracking(true);
  setFocusPolicy(Qt::StrongFocus);
  setAccessibleName(tr("Picture"));
  grabGesture(Qt::PinchGesture);
  connect(&transform_, &ViewTransform::changed, this, &PictureView::redraw);
}

void PictureView::set_picture(PicturePtr picture) {
  if (picture == picture_) return;
  picture_ = std::move(picture);
  frame_ = picture_ ? QRectF(0, 0, picture_->width(), picture_->height()) : QRectF();
  redraw();
}

void PictureView::set_scene(OverlayScene scene) {
  scene_ = std::move(scene);
  if (picture_ && scene_.rows > 0) frame_ |= scene_.rect;
  redraw();
}

void PictureView::set_placeholder(const QString& title, const QString& hint) {
  title_ = title;
  hint_ = hint;
  update();
}

void PictureView::set_overlay_visible(bool visible) {
  overlay_visible_ = visible;
  redraw();
}

void PictureView::set_patch(int id) {
  patch_ = id;
  update();
}

void PictureView::set_painting(bool painting, const std::set<int>& painted) {
  painting_ = painting;
  painted_ = painted;
  setCursor(painting ? Qt::CrossCursor : Qt::ArrowCursor);
  redraw();
}

void PictureView::redraw() {
  backdrop_ = {};
  update();
}

// ---- Geometry ----------------------------------------------------------------------------------

QRectF PictureView::target() const {
  const QRectF framed = transform_.target(size(), frame_.size());
  if (frame_.isEmpty()) return framed;
  const double scale = framed.width() / frame_.width();
  return {framed.topLeft() - frame_.topLeft() * scale,
          QSizeF(picture_->width(), picture_->height()) * scale};
}

double PictureView::zoom() const {
  return transform_.scale(size(), frame_.size()) * devicePixelRatioF();
}

void PictureView::zoom_by(double factor) {
  const QPointF middle(width() / 2.0, height() / 2.0);
  transform_.zoom_to(transform_.scale(size(), frame_.size()) * factor, middle, size(),
                     frame_.size());
}

void PictureView::zoom_to_actual_size() {
  const QPointF middle(width() / 2.0, height() / 2.0);
  transform_.zoom_to(1.0 / devicePixelRatioF(), middle, size(), frame_.size());
}

QRectF PictureView::cell_rect(int cell) const {
  const QRectF whole = target();
  const double scale = whole.width() / picture_->width();
  const int row = cell / scene_.cols, col = cell % scene_.cols;
  const double width = scene_.rect.width() / scene_.cols * scale;
  const double height = scene_.rect.height() / scene_.rows * scale;
  const double left = whole.x() + scene_.rect.x() * scale,
               top = whole.y() + scene_.rect.y() * scale;
  // Edges on whole pixels, so that neighbours meet.
  const QPointF from(std::round(left + col * width), std::round(top + row * height));
  const QPointF to(std::round(left + (col + 1) * width), std::round(top + (row + 1) * height));
  return {from, to};
}

PictureView::Place PictureView::place_at(QPointF point) const {
  Place place;
  if (!picture_) return place;
  const QRectF whole = target();
  const double scale = whole.width() / picture_->width();
  const double x = (point.x() - whole.x()) / scale, y = (point.y() - whole.y()) / scale;
  place.on_picture = whole.contains(point);
  if (place.on_picture) {
    place.x = std::min(static_cast<int>(x), picture_->width() - 1);
    place.y = std::min(static_cast<int>(y), picture_->height() - 1);
  }
  if (scene_.rows == 0 || !scene_.rect.contains(QPointF(x, y))) return place;
  const int row =
      std::min(static_cast<int>((y - scene_.rect.y()) / scene_.rect.height() * scene_.rows),
               scene_.rows - 1);
  const int col = std::min(
      static_cast<int>((x - scene_.rect.x()) / scene_.rect.width() * scene_.cols), scene_.cols - 1);
  place.cell = row * scene_.cols + col;
  place.id = scene_.ids[static_cast<std::size_t>(place.cell)];
  return place;
}

QPointF PictureView::middle_of(int id) const {
  const int cell = scene_.cell_of(id);
  return cell < 0 || !picture_ ? QPointF() : cell_rect(cell).center();
}

QString PictureView::describe(const Place& place) const {
  QString text;
  if (!place.on_picture && place.id < 0) return text;
  if (place.id >= 0) {
    const auto cell = static_cast<std::size_t>(place.cell);
    text = tr("patch %1 (row %2, column %3)")
               .arg(place.id)
               .arg(place.cell / scene_.cols)
               .arg(place.cell % scene_.cols);
    if (cell < scene_.values.size() && !std::isnan(scene_.values[cell])) {
      text += tr("  %1").arg(static_cast<double>(scene_.values[cell]), 0, 'g', 4);
    }
    if (scene_.cells[cell] == CellState::merged) text += tr("  merged into another");
    if (!is_there(scene_.cells[cell]) && scene_.cells[cell] != CellState::merged) {
      text += tr("  pruned");
    }
  } else if (scene_.rows > 0) {
    text = tr("not seen by the model");
  }
  const QString pixel = place.on_picture ? tr("pixel %1, %2").arg(place.x).arg(place.y)
                                         : tr("padding");
  return text.isEmpty() ? pixel : text + QStringLiteral("  \u00b7  ") + pixel;
}

// ---- Drawing -----------------------------------------------------------------------------------

void PictureView::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  if (!picture_) {
    painter.fillRect(rect(), stage_color(palette()));
    return draw_placeholder(painter);
  }
  // Scaling takes far longer than following the mouse may.
  if (backdrop_.size() != size() * devicePixelRatioF()) draw_backdrop();
  painter.drawPixmap(0, 0, backdrop_);
  const bool grid = scene_.rows > 0;
  if (grid && patch_ >= 0) {
    const int cell = scene_.cell_of(patch_);
    if (cell >= 0) draw_outline(painter, cell_rect(cell), 2);
  }
  if (hovering_) {
    const Place place = place_at(hover_);
    if (place.id >= 0) draw_outline(painter, cell_rect(place.cell), 1);
    draw_readout(painter);
  }
  if (hasFocus()) {
    painter.setPen(palette().color(QPalette::Highlight));
    painter.setBrush(Qt::NoBrush);
    painter.drawRect(rect().adjusted(0, 0, -1, -1));
  }
}

void PictureView::draw_backdrop() {
  backdrop_ = QPixmap(size() * devicePixelRatioF());
  backdrop_.setDevicePixelRatio(devicePixelRatioF());
  backdrop_.fill(stage_color(palette()));
  QPainter painter(&backdrop_);
  const QRectF whole = target();
  draw_picture(painter, whole);
  if (scene_.rows == 0 || !(overlay_visible_ || painting_)) return;
  draw_unseen(painter, whole);
  if (!painting_ && !scene_.heat.isNull()) {
    const QRectF place(cell_rect(0).topLeft(),
                       cell_rect(scene_.rows * scene_.cols - 1).bottomRight());
    painter.setRenderHint(QPainter::SmoothPixmapTransform, scene_.smooth);
    painter.drawImage(place, scene_.heat);
  }
  draw_cells(painter);
}

void PictureView::draw_picture(QPainter& painter, const QRectF& whole) const {
  const double device = whole.width() / picture_->width() * devicePixelRatioF();
  const QImage& level = picture_->level_for(device);
  // Above 100 % pixels stay sharp, so that it is clear what the model was given.
  painter.setRenderHint(QPainter::SmoothPixmapTransform, device < 1);
  const QRectF seen = whole.intersected(rect());
  if (seen.isEmpty()) return;
  const double to_level = level.width() / whole.width();
  const QRectF source((seen.x() - whole.x()) * to_level, (seen.y() - whole.y()) * to_level,
                      seen.width() * to_level, seen.height() * to_level);
  painter.drawImage(seen, level, source);
}

void PictureView::draw_unseen(QPainter& painter, const QRectF& whole) const {
  const double scale = whole.width() / picture_->width();
  const QRectF seen(whole.x() + scene_.rect.x() * scale, whole.y() + scene_.rect.y() * scale,
                    scene_.rect.width() * scale, scene_.rect.height() * scale);
  QPainterPath outside;
  outside.addRect(whole);
  QPainterPath inside;
  inside.addRect(seen);
  QColor veil = stage_color(palette());
  veil.setAlpha(190);
  painter.fillPath(outside.subtracted(inside), veil);
}

void PictureView::draw_cells(QPainter& painter) const {
  // Runs of equal cells along a row are one rectangle.
  QPainterPath pruned, pruned_now, merged, border;
  const auto state_of = [this](int row, int col) {
    const auto cell = static_cast<std::size_t>(row * scene_.cols + col);
    if (!painting_) return scene_.cells[cell];
    if (scene_.ids[cell] < 0) return CellState::absent;
    return painted_.contains(scene_.ids[cell]) ? CellState::present : CellState::pruned;
  };
  for (int row = 0; row < scene_.rows; ++row) {
    for (int col = 0; col < scene_.cols;) {
      const CellState state = state_of(row, col);
      int end = col + 1;
      while (end < scene_.cols && state_of(row, end) == state) ++end;
      const QRectF run(cell_rect(row * scene_.cols + col).topLeft(),
                       cell_rect(row * scene_.cols + end - 1).bottomRight());
      if (state == CellState::pruned) pruned.addRect(run);
      if (state == CellState::pruned_now) pruned_now.addRect(run);
      if (state == CellState::merged) merged.addRect(run);
      col = end;
    }
    for (int col = 0; col < scene_.cols; ++col) {
      const bool there = is_there(state_of(row, col));
      const QRectF cell = cell_rect(row * scene_.cols + col);
      if (col + 1 < scene_.cols && is_there(state_of(row, col + 1)) != there) {
        border.moveTo(cell.topRight());
        border.lineTo(cell.bottomRight());
      }
      if (row + 1 < scene_.rows && is_there(state_of(row + 1, col)) != there) {
        border.moveTo(cell.bottomLeft());
        border.lineTo(cell.bottomRight());
      }
    }
  }
  const double ratio = devicePixelRatioF();
  const QPointF origin = cell_rect(0).topLeft();  // the hatching moves with the picture
  painter.setBrushOrigin(origin);
  const auto fill = [&](const QPainterPath& path, int veil, const QBrush& pattern) {
    if (path.isEmpty()) return;
    painter.fillPath(path, QColor(14, 16, 22, veil));
    painter.fillPath(path, pattern);
  };
  fill(pruned, 165, hatch(true, ratio));
  fill(pruned_now, 110, hatch(false, ratio));
  fill(merged, 110, dots(ratio));
  painter.setRenderHint(QPainter::Antialiasing, false);
  painter.setPen(QPen(QColor(255, 255, 255, 210), 1));
  painter.drawPath(border);
}

void PictureView::draw_outline(QPainter& painter, const QRectF& cell, double width) const {
  painter.setBrush(Qt::NoBrush);
  painter.setPen(QPen(QColor(0, 0, 0, 200), width + 2));
  painter.drawRect(cell);
  painter.setPen(QPen(Qt::white, width));
  painter.drawRect(cell);
}

void PictureView::draw_readout(QPainter& painter) const {
  const QString text = describe(place_at(hover_));
  if (text.isEmpty()) return;
  const QFontMetricsF metrics(font());
  QRectF pill(0, 0, metrics.horizontalAdvance(text) + 16, metrics.height() + 8);
  // Out of the mouse's way.
  const bool low = hover_.y() > height() - 3 * pill.height();
  pill.moveTopLeft({8, low ? 8 : height() - pill.height() - 8});
  painter.setRenderHint(QPainter::Antialiasing);
  painter.setPen(Qt::NoPen);
  painter.setBrush(QColor(10, 12, 16, 205));
  painter.drawRoundedRect(pill, 5, 5);
  painter.setPen(Qt::white);
  painter.drawText(pill, Qt::AlignCenter, text);
}

void PictureView::draw_placeholder(QPainter& painter) const {
  const QRectF area = QRectF(rect()).adjusted(24, 24, -24, -24);
  QFont large = font();
  large.setPointSizeF(font().pointSizeF() * 1.5);
  const QFontMetricsF metrics(large);
  QRectF line = area;
  line.setTop(area.center().y() - metrics.height() * 1.4);
  painter.setFont(large);
  painter.setPen(palette().color(QPalette::WindowText));
  painter.drawText(line, Qt::AlignHCenter | Qt::AlignTop | Qt::TextWordWrap, title_);
  line.setTop(area.center().y() + metrics.height() * 0.2);
  painter.setFont(font());
  painter.setPen(muted(palette()));
  painter.drawText(line, Qt::AlignHCenter | Qt::AlignTop | Qt::TextWordWrap, hint_);
}

// ---- Hands -------------------------------------------------------------------------------------

void PictureView::wheelEvent(QWheelEvent* event) {
  if (!picture_ || event->angleDelta().y() == 0) return;
  const double factor = std::pow(kWheelFactor, event->angleDelta().y() / 120.0);
  transform_.zoom_to(transform_.scale(size(), frame_.size()) * factor, event->position(), size(),
                     frame_.size());
  event->accept();
}

void PictureView::mousePressEvent(QMouseEvent* event) {
  pressed_ = last_ = event->position();
  dragging_ = false;
  stroke_ = painting_ && event->button() != Qt::MiddleButton && scene_.rows > 0;
  if (stroke_) {
    stroke_adds_ = event->button() == Qt::LeftButton &&
                   !(event->modifiers() & (Qt::ControlModifier | Qt::AltModifier));
    paint_at(event->position());
  }
}

void PictureView::mouseMoveEvent(QMouseEvent* event) {
  hovering_ = true;
  hover_ = event->position();
  if (stroke_) {
    // A quick stroke reports few points: fill what lies between them.
    const QPointF way = hover_ - last_;
    const int steps = std::max(1, static_cast<int>(std::hypot(way.x(), way.y()) / 4));
    for (int step = 1; step <= steps; ++step) paint_at(last_ + way * step / steps);
  } else if (event->buttons() & (Qt::LeftButton | Qt::MiddleButton)) {
    if ((hover_ - pressed_).manhattanLength() > 4) dragging_ = true;
    if (dragging_) {
      setCursor(Qt::ClosedHandCursor);
      transform_.pan(hover_ - last_, size(), frame_.size());
    }
  }
  last_ = hover_;
  update();
}

void PictureView::mouseReleaseEvent(QMouseEvent* event) {
  if (!stroke_ && !dragging_ && event->button() == Qt::LeftButton) {
    const Place place = place_at(event->position());
    Q_EMIT patch_clicked(place.id == patch_ ? -1 : place.id);
  }
  stroke_ = dragging_ = false;
  setCursor(painting_ ? Qt::CrossCursor : Qt::ArrowCursor);
}

void PictureView::mouseDoubleClickEvent(QMouseEvent* event) {
  if (painting_) return mousePressEvent(event);
  transform_.fit();
}

void PictureView::paint_at(QPointF point) {
  const Place place = place_at(point);
  if (place.id >= 0 && painted_.contains(place.id) != stroke_adds_) {
    Q_EMIT patches_painted({place.id}, stroke_adds_);
  }
}

void PictureView::move_patch(int rows, int cols) {
  if (scene_.rows == 0) return;
  const int now = std::max(scene_.cell_of(patch_), 0);
  const int row = std::clamp(now / scene_.cols + rows, 0, scene_.rows - 1);
  const int col = std::clamp(now % scene_.cols + cols, 0, scene_.cols - 1);
  Q_EMIT patch_clicked(scene_.ids[static_cast<std::size_t>(row * scene_.cols + col)]);
}

void PictureView::keyPressEvent(QKeyEvent* event) {
  const bool shift = event->modifiers() & Qt::ShiftModifier;
  switch (event->key()) {
    case Qt::Key_Left:
      return shift ? move_patch(0, -1) : Q_EMIT step_wanted(-1);
    case Qt::Key_Right:
      return shift ? move_patch(0, 1) : Q_EMIT step_wanted(1);
    case Qt::Key_Up:
      return shift ? move_patch(-1, 0) : Q_EMIT step_wanted(-1);
    case Qt::Key_Down:
      return shift ? move_patch(1, 0) : Q_EMIT step_wanted(1);
    case Qt::Key_Return:
    case Qt::Key_Enter:
      if (painting_ && patch_ >= 0) Q_EMIT patches_painted({patch_}, !painted_.contains(patch_));
      return;
    case Qt::Key_Space:
      if (!event->isAutoRepeat()) Q_EMIT hold_overlay(true);
      return;
    default:
      QWidget::keyPressEvent(event);
  }
}

void PictureView::keyReleaseEvent(QKeyEvent* event) {
  if (event->key() != Qt::Key_Space) return QWidget::keyReleaseEvent(event);
  if (!event->isAutoRepeat()) Q_EMIT hold_overlay(false);
}

void PictureView::leaveEvent(QEvent*) {
  hovering_ = false;
  update();
}

void PictureView::focusOutEvent(QFocusEvent* event) {
  Q_EMIT hold_overlay(false);
  QWidget::focusOutEvent(event);
}

void PictureView::changeEvent(QEvent* event) {
  if (event->type() == QEvent::PaletteChange) redraw();
  QWidget::changeEvent(event);
}

bool PictureView::event(QEvent* event) {
  if (event->type() == QEvent::Gesture) {
    const auto* pinch =
        static_cast<QPinchGesture*>(static_cast<QGestureEvent*>(event)->gesture(Qt::PinchGesture));
    if (pinch != nullptr && picture_) {
      const QPointF middle = mapFromGlobal(pinch->hotSpot());
      transform_.zoom_to(transform_.scale(size(), frame_.size()) * pinch->scaleFactor(), middle,
                         size(), frame_.size());
      return true;
    }
  }
  return QWidget::event(event);
}

}  // namespace fovea::gui
