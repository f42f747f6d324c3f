#pragma once
// The window: puts views, panels and actions around a Viewer.

#include <QHash>
#include <QMainWindow>

#include "gui/ask_bar.h"
#include "gui/exported_picture.h"
#include "gui/facts_bar.h"
#include "gui/notice_strip.h"
#include "gui/run_pane.h"
#include "gui/viewer.h"

class QDockWidget;
class QSplitter;

namespace fovea::gui {

class MainWindow : public QMainWindow {
  Q_OBJECT

 public:
  /// `viewer` must outlive the window.
  explicit MainWindow(Viewer& viewer, QWidget* parent = nullptr);

  Viewer& viewer() { return viewer_; }
  ViewState& view() { return viewer_.view(); }
  ViewTransform& transform() { return transform_; }
  RunPane& main_pane() { return *main_pane_; }
  RunPane& reference_pane() { return *reference_pane_; }
  AskBar& ask_bar() { return *ask_bar_; }
  NoticeStrip& notices() { return *notices_; }
  QAction* action(const QString& name) const { return actions_.value(name); }
  QDockWidget* panel(const QString& name) const { return docks_.value(name); }

  /// Pictures, folders, remembered for next time.
  void open_paths(const QStringList& paths);
  /// What was open last, or the samples that come with Fovea.
  void restore_session();

  // What actions do.
  void open_files();
  void open_folder();
  void choose_model();
  void export_view();
  /// Errors: those of exported_picture() and export_files().
  Status export_to(const QString& file, Exported kind);
  void copy_view();
  void focus_question();
  void escape();
  void zoom_by(double factor);
  void zoom_to_actual_size();
  void step_stage(int by);
  void toggle_smooth();
  void toggle_full_screen();
  void reset_docks();
  void show_keys();

  /// The panes as they are seen, without the readout under the mouse.
  QImage picture_of_view();

 protected:
  void closeEvent(QCloseEvent* event) override;
  void dragEnterEvent(QDragEnterEvent* event) override;
  void dropEvent(QDropEvent* event) override;

 private:
  void build_actions();
  void build_tool_bar();
  void build_panels();
  void build_recent_menu(QMenu* menu);
  void build_appearance_menu(QMenu* menu);
  void refresh_actions();
  void save_session();
  void level_panes();

  Viewer& viewer_;
  ViewTransform transform_;
  QSplitter* panes_;
  RunPane *main_pane_, *reference_pane_;
  NoticeStrip* notices_;
  AskBar* ask_bar_;
  QHash<QString, QAction*> actions_;
  QHash<QString, QMenu*> menus_;
  QHash<QString, QDockWidget*> docks_;
  bool level_due_ = false;
  QByteArray first_docks_;  // the arrangement of a first start
};

}  // namespace fovea::gui
