#include "gui/scene_bar.h"

#include <QPainter>

#include "gui/theme.h"

namespace fovea::gui {
namespace {

constexpr int kBarWidth = 120, kBarHeight = 10, kGap = 8;

}  // namespace

SceneBar::SceneBar(QWidget* parent) : QWidget(parent) {
  setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Fixed);
}

void SceneBar::show_scene(const OverlayScene& scene, const Display& display) {
  caption_ = scene.waiting ? tr("%1 \u2026").arg(scene.caption) : scene.caption;
  range_text_ = scene.range_text;
  low_ = scene.low;
  high_ = scene.high;
  display_ = display;
  setToolTip(range_text_.isEmpty() ? caption_ : caption_ + QStringLiteral("\n") + range_text_);
  setAccessibleName(caption_);
  update();
}

QSize SceneBar::sizeHint() const {
  return {400, fontMetrics().height() + 10};
}

void SceneBar::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  const QFontMetrics metrics = fontMetrics();
  const int middle = height() / 2;
  int right = width() - kGap;
  const auto text_at_right = [&](const QString& text, const QColor& color) {
    const int wide = metrics.horizontalAdvance(text);
    right -= wide;
    painter.setPen(color);
    painter.drawText(QRect(right, 0, wide, height()), Qt::AlignVCenter, text);
    right -= kGap;
  };
  if (high_ > low_) {
    text_at_right(QString::number(high_, 'g', 3), palette().color(QPalette::WindowText));
    right -= kBarWidth;
    for (int x = 0; x < kBarWidth; ++x) {
      const auto color = display_color(display_, static_cast<double>(x) / (kBarWidth - 1));
      painter.fillRect(right + x, middle - kBarHeight / 2, 1, kBarHeight,
                       QColor(color[0], color[1], color[2]));
    }
    right -= kGap;
    text_at_right(QString::number(low_, 'g', 3), palette().color(QPalette::WindowText));
    const int caption =
        metrics.horizontalAdvance(caption_) + metrics.horizontalAdvance(range_text_);
    if (caption + 3 * kGap < right) text_at_right(range_text_, muted(palette()));
  }
  const QRect left(kGap, 0, std::max(0, right - kGap), height());
  painter.setPen(palette().color(QPalette::WindowText));
  painter.drawText(left, Qt::AlignVCenter,
                   metrics.elidedText(caption_, Qt::ElideRight, left.width()));
}

}  // namespace fovea::gui
