#pragma once
// One run as it is looked at: picture with overlay, what the overlay is, and the answer's words.
// Two of them stand side by side in a comparison.

#include <QLabel>
#include <QToolButton>
#include <QWidget>

#include "gui/picture_view.h"
#include "gui/scene_bar.h"
#include "gui/token_strip.h"
#include "gui/viewer.h"

namespace fovea::gui {

class RunPane : public QWidget {
  Q_OBJECT

 public:
  enum class Side { main, reference };

  /// `viewer` and `transform` must outlive the pane.
  RunPane(Viewer& viewer, ViewTransform& transform, Side side, QWidget* parent = nullptr);

  PictureView& picture_view() { return *view_; }
  TokenStrip& strip() { return *strip_; }
  /// Shown above the picture while two runs are compared.
  void set_header_visible(bool visible);

  /// Gives headers and words of both panes the same heights, so that their pictures stand level.
  static void level(RunPane& a, RunPane& b);
  /// Ends that.
  void stand_alone();

 Q_SIGNALS:
  /// A suggested question was clicked.
  void question_suggested(const QString& text);
  /// Header or words may take another height now.
  void heights_changed();

 protected:
  void resizeEvent(QResizeEvent* event) override;

 private:
  RunPtr run() const;
  void refresh_run();
  void refresh_scene();
  void refresh_words();
  void refresh_suggestions();
  void refresh_header();

  Viewer& viewer_;
  Side side_;
  TokenModel tokens_;
  QLabel* header_;
  PictureView* view_;
  SceneBar* bar_;
  QWidget* words_;  // question, "whole answer" and strip
  QLabel* question_;
  QToolButton* whole_;
  TokenStrip* strip_;
  QWidget* suggestions_;
  bool scene_due_ = false;
};

/// Both answers as rich text, words that the other does not have at their place in bold.
std::pair<QString, QString> marked_difference(const QString& a, const QString& b);

}  // namespace fovea::gui
