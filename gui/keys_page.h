#pragma once
// Every key of the window on one page, made from the table of actions.

#include <QDialog>

namespace fovea::gui {

class KeysPage : public QDialog {
  Q_OBJECT

 public:
  explicit KeysPage(QWidget* parent);
};

}  // namespace fovea::gui
