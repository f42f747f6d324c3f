#include "gui/icons.h"

#include <QApplication>
#include <QIconEngine>
#include <QPainter>
#include <QPainterPath>
#include <QPalette>

namespace fovea::gui {
namespace {

// Every glyph is drawn on a square of 16 units.

void circle(QPainterPath& path, double x, double y, double radius) {
  path.addEllipse(QPointF(x, y), radius, radius);
}

void line(QPainterPath& path, std::initializer_list<QPointF> points) {
  bool first = true;
  for (const QPointF& point : points) {
    if (first) path.moveTo(point);
    if (!first) path.lineTo(point);
    first = false;
  }
}

QPainterPath strokes_of(Glyph glyph) {
  QPainterPath path;
  switch (glyph) {
    case Glyph::open:
      path.addRoundedRect(2, 3, 12, 10, 1.5, 1.5);
      line(path, {{2.5, 11.5}, {6, 8}, {8.5, 10.5}, {10.5, 8.5}, {13.5, 11.5}});
      circle(path, 10.8, 5.9, 0.9);
      break;
    case Glyph::folder:
      line(path, {{2, 12.5}, {2, 3.5}, {6, 3.5}, {7.5, 5.5}, {14, 5.5}, {14, 12.5}, {2, 12.5}});
      break;
    case Glyph::previous:
      line(path, {{10, 3}, {5, 8}, {10, 13}});
      break;
    case Glyph::next:
      line(path, {{6, 3}, {11, 8}, {6, 13}});
      break;
    case Glyph::fit:
      line(path, {{2, 6}, {2, 2.5}, {5.5, 2.5}});
      line(path, {{10.5, 2.5}, {14, 2.5}, {14, 6}});
      line(path, {{14, 10}, {14, 13.5}, {10.5, 13.5}});
      line(path, {{5.5, 13.5}, {2, 13.5}, {2, 10}});
      break;
    case Glyph::actual_size:
      line(path, {{2.5, 5.5}, {4.5, 4}, {4.5, 12}});
      line(path, {{10.5, 5.5}, {12.5, 4}, {12.5, 12}});
      line(path, {{8, 6.4}, {8, 6.6}});
      line(path, {{8, 9.6}, {8, 9.8}});
      break;
    case Glyph::overlay:
      path.addRoundedRect(2, 2, 8.5, 8.5, 1.5, 1.5);
      path.addRoundedRect(5.5, 5.5, 8.5, 8.5, 1.5, 1.5);
      break;
    case Glyph::attention:
      path.moveTo(1.5, 8);
      path.quadTo(8, 0.8, 14.5, 8);
      path.quadTo(8, 15.2, 1.5, 8);
      circle(path, 8, 8, 2.2);
      break;
    case Glyph::kept:
      path.addRect(2.5, 2.5, 11, 11);
      line(path, {{8, 2.5}, {8, 13.5}});
      line(path, {{2.5, 8}, {13.5, 8}});
      line(path, {{8, 12.2}, {12.2, 8}});
      line(path, {{9.6, 13.5}, {13.5, 9.6}});
      break;
    case Glyph::tower:
      path.addRoundedRect(2, 10.5, 12, 3, 1, 1);
      path.addRoundedRect(3.5, 6.5, 9, 3, 1, 1);
      path.addRoundedRect(5.5, 2.5, 5, 3, 1, 1);
      break;
    case Glyph::compare:
      path.addRoundedRect(1.8, 3, 5.2, 10, 1, 1);
      path.addRoundedRect(9, 3, 5.2, 10, 1, 1);
      break;
    case Glyph::paint:
      line(path, {{13.5, 2.5}, {7.5, 8.5}});
      path.moveTo(7, 8);
      path.quadTo(3.5, 8.6, 4, 11);
      path.quadTo(3.6, 12.6, 2.2, 13.2);
      path.quadTo(7.8, 14.6, 8.2, 9.4);
      path.lineTo(7, 8);
      break;
    case Glyph::save:
      line(path, {{8, 2}, {8, 9.5}});
      line(path, {{4.8, 6.5}, {8, 9.7}, {11.2, 6.5}});
      line(path, {{2.5, 10.5}, {2.5, 13.5}, {13.5, 13.5}, {13.5, 10.5}});
      break;
    case Glyph::ask:
      line(path, {{2.5, 8}, {13, 8}});
      line(path, {{8.5, 3.5}, {13, 8}, {8.5, 12.5}});
      break;
    case Glyph::stop:
      path.addRoundedRect(4, 4, 8, 8, 1, 1);
      break;
    case Glyph::warning:
      line(path, {{8, 2.2}, {14.5, 13.5}, {1.5, 13.5}, {8, 2.2}});
      line(path, {{8, 6.5}, {8, 9.6}});
      line(path, {{8, 11.5}, {8, 11.7}});
      break;
    case Glyph::close:
      line(path, {{4, 4}, {12, 12}});
      line(path, {{12, 4}, {4, 12}});
      break;
    case Glyph::follow_up:
      line(path, {{3, 3}, {3, 9.5}, {12.5, 9.5}});
      line(path, {{9, 6}, {12.5, 9.5}, {9, 13}});
      break;
    case Glyph::help:
      path.moveTo(5.2, 5.6);
      path.cubicTo(5.2, 2.2, 10.8, 2.2, 10.8, 5.6);
      path.cubicTo(10.8, 7.8, 8, 7.8, 8, 10.2);
      line(path, {{8, 12.8}, {8, 13}});
      break;
  }
  return path;
}

class GlyphEngine final : public QIconEngine {
 public:
  explicit GlyphEngine(Glyph glyph) : glyph_(glyph) {}

  void paint(QPainter* painter, const QRect& rect, QIcon::Mode mode, QIcon::State) override {
    const auto group = mode == QIcon::Disabled ? QPalette::Disabled : QPalette::Active;
    const double side = std::min(rect.width(), rect.height());
    painter->save();
    painter->setRenderHint(QPainter::Antialiasing);
    painter->translate(rect.x() + (rect.width() - side) / 2, rect.y() + (rect.height() - side) / 2);
    painter->scale(side / 16, side / 16);
    painter->setPen(QPen(QApplication::palette().color(group, QPalette::WindowText), 1.3, Qt::SolidLine,
                         Qt::RoundCap, Qt::RoundJoin));
    painter->drawPath(strokes_of(glyph_));
    painter->restore();
  }

  QPixmap pixmap(const QSize& size, QIcon::Mode mode, QIcon::State state) override {
    QPixmap drawn(size);
    drawn.fill(Qt::transparent);
    QPainter painter(&drawn);
    paint(&painter, QRect(QPoint(), size), mode, state);
    return drawn;
  }

  QIconEngine* clone() const override { return new GlyphEngine(glyph_); }

 private:
  Glyph glyph_;
};

}  // namespace

QIcon icon(Glyph glyph) {
  return QIcon(new GlyphEngine(glyph));
}

}  // namespace fovea::gui
