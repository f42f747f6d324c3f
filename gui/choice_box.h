#pragma once
// A list to choose from by its first letters: while it has the keyboard, letters are no shortcuts
// of the window.

#include <QComboBox>
#include <QKeyEvent>

namespace fovea::gui {

class ChoiceBox final : public QComboBox {
 public:
  using QComboBox::QComboBox;

  /// In a narrow panel: takes the room there is instead of that of its longest choice.
  void fit_panel() {
    setSizeAdjustPolicy(AdjustToMinimumContentsLengthWithIcon);
    setMinimumContentsLength(8);
    setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
  }

 protected:
  bool event(QEvent* event) override {
    if (event->type() == QEvent::ShortcutOverride) {
      const auto* key = static_cast<QKeyEvent*>(event);
      const bool plain = (key->modifiers() & ~Qt::ShiftModifier) == Qt::NoModifier;
      if (plain && !key->text().isEmpty() && key->text().front().isPrint()) {
        event->accept();
        return true;
      }
    }
    return QComboBox::event(event);
  }
};

}  // namespace fovea::gui
