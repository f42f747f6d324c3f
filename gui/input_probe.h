#pragma once
// How long the window takes to answer input: another thread asks for attention at even distances,
// and the GUI thread says when it got to it and had redrawn.

#include <QWidget>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace fovea::gui {

class InputProbe {
 public:
  InputProbe() = default;
  ~InputProbe() { stop(); }
  InputProbe(const InputProbe&) = delete;
  InputProbe& operator=(const InputProbe&) = delete;

  /// The mouse moves over `widget` every few milliseconds from now on.
  void start(QWidget& widget);
  /// Milliseconds from each move to the end of its redrawing, as they came.
  std::vector<double> stop();

 private:
  std::thread sender_;
  std::atomic<bool> running_ = false;
  std::shared_ptr<std::vector<double>> took_;
};

}  // namespace fovea::gui
