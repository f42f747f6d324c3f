#pragma once
// An answer word by word: each word with a thin bar under it for the share of its attention that
// lies on the picture. The arrow keys walk through the words.

#include <QListView>

#include "gui/token_model.h"

namespace fovea::gui {

class TokenStrip : public QListView {
  Q_OBJECT

 public:
  /// `model` must outlive the strip.
  explicit TokenStrip(TokenModel& model, QWidget* parent = nullptr);

  /// ViewState::kWholeAnswer: no word.
  void show_token(int token);
  QSize sizeHint() const override;
  QSize minimumSizeHint() const override { return {120, sizeHint().height()}; }

 Q_SIGNALS:
  void token_chosen(int token);
  void hold_overlay(bool held);

 protected:
  void keyPressEvent(QKeyEvent* event) override;
  void keyReleaseEvent(QKeyEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void resizeEvent(QResizeEvent* event) override;
  void currentChanged(const QModelIndex& current, const QModelIndex& previous) override;

 private:
  int rows_for(int width) const;

  TokenModel& tokens_;
  bool showing_ = false;  // the change comes from outside
};

}  // namespace fovea::gui
