#include "gui/input_probe.h"

#include <QApplication>
#include <QMouseEvent>
#include <QPointer>
#include <algorithm>
#include <chrono>
#include <utility>

namespace fovea::gui {
namespace {

constexpr auto kDistance = std::chrono::milliseconds(40);

double now() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void move_mouse(QWidget& widget, std::size_t step) {
  const int along = static_cast<int>(step * 7);
  const QPointF place(along % std::max(1, widget.width()), (along / 3) % std::max(1, widget.height()));
  QMouseEvent move(QEvent::MouseMove, place, widget.mapToGlobal(place), Qt::NoButton, Qt::NoButton,
                   Qt::NoModifier);
  QApplication::sendEvent(&widget, &move);
  widget.repaint();
}

}  // namespace

void InputProbe::start(QWidget& widget) {
  stop();
  took_ = std::make_shared<std::vector<double>>();
  running_ = true;
  // Its own clock: moves are sent on time whatever the GUI thread is doing.
  sender_ = std::thread([this, moved = QPointer<QWidget>(&widget), took = took_] {
    auto next = std::chrono::steady_clock::now();
    while (running_) {
      QMetaObject::invokeMethod(qApp, [moved, took, sent = now()] {
        if (!moved) return;
        move_mouse(*moved, took->size());
        took->push_back(now() - sent);
      });
      next += kDistance;
      std::this_thread::sleep_until(next);
    }
  });
}

std::vector<double> InputProbe::stop() {
  running_ = false;
  if (sender_.joinable()) sender_.join();
  QApplication::processEvents();  // moves that were sent before
  return took_ ? std::exchange(*took_, {}) : std::vector<double>();
}

}  // namespace fovea::gui
