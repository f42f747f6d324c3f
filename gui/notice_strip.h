#pragma once
// What went wrong, in a strip that stays until it is dismissed; never a dialog.

#include <QFrame>
#include <QLabel>
#include <QStringList>
#include <QToolButton>

#include "kernels/base/error.h"

namespace fovea::gui {

class NoticeStrip : public QFrame {
  Q_OBJECT

 public:
  explicit NoticeStrip(QWidget* parent = nullptr);

  /// The same notice twice in a row is one.
  void add(const Error& error);
  void dismiss();
  /// Oldest first.
  const QStringList& notices() const { return notices_; }

 private:
  void refresh();

  QStringList notices_;
  QLabel* text_;
  QToolButton* more_;
  bool all_ = false;  // the whole list is shown
};

/// "The picture is damaged (park.png). Remedy." for people.
QString notice_text(const Error& error);

}  // namespace fovea::gui
