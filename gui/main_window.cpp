#include "gui/main_window.h"

#include <QActionGroup>
#include <QApplication>
#include <QClipboard>
#include <QCloseEvent>
#include <QDockWidget>
#include <QDragEnterEvent>
#include <QFileDialog>
#include <QFileInfo>
#include <QMenuBar>
#include <QMimeData>
#include <QShortcut>
#include <QSplitter>
#include <QStatusBar>
#include <QTimer>
#include <QToolBar>
#include <QVBoxLayout>

#include "gui/actions.h"
#include "gui/export.h"
#include "gui/keys_page.h"
#include "gui/model_dialog.h"
#include "gui/panels/panel_table.h"
#include "gui/theme.h"
#include "vlm/bundled.h"

namespace fovea::gui {
namespace {

Display display_of(const Settings& settings) {
  Display display;
  const auto map = parse_color_map(settings.get("look/color_map").toString().toStdString());
  if (map) display.color_map = *map;
  display.opacity = std::clamp(settings.get("look/opacity").toDouble(), 0.0, 1.0);
  display.reversed = settings.get("look/reversed").toBool();
  display.fade = settings.get("look/fade").toBool();
  display.lift = settings.get("look/lift").toBool();
  display.smooth = settings.get("look/smooth").toBool();
  const QString range = settings.get("look/range").toString();
  display.range = range == QLatin1String("own")       ? Range::own
                  : range == QLatin1String("clipped") ? Range::clipped
                                                      : Range::shared;
  return display;
}

const char* color_map_name(ColorMap map) {
  switch (map) {
    case ColorMap::viridis:
      return "viridis";
    case ColorMap::inferno:
      return "inferno";
    case ColorMap::turbo:
      return "turbo";
    case ColorMap::gray:
      return "gray";
  }
  return "viridis";
}

void remember_display(Settings& settings, const Display& display) {
  settings.set("look/color_map", QString::fromLatin1(color_map_name(display.color_map)));
  settings.set("look/opacity", display.opacity);
  settings.set("look/reversed", display.reversed);
  settings.set("look/fade", display.fade);
  settings.set("look/lift", display.lift);
  settings.set("look/smooth", display.smooth);
  settings.set("look/range", display.range == Range::own       ? QStringLiteral("own")
                             : display.range == Range::clipped ? QStringLiteral("clipped")
                                                               : QStringLiteral("shared"));
}

}  // namespace

MainWindow::MainWindow(Viewer& viewer, QWidget* parent) : QMainWindow(parent), viewer_(viewer) {
  setWindowTitle(QStringLiteral("Fovea"));
  setAcceptDrops(true);
  setDockNestingEnabled(true);
  viewer_.view().set_display(display_of(viewer_.settings()));

  reference_pane_ = new RunPane(viewer_, transform_, RunPane::Side::reference);
  main_pane_ = new RunPane(viewer_, transform_, RunPane::Side::main);
  panes_ = new QSplitter(Qt::Horizontal);
  panes_->setChildrenCollapsible(false);
  panes_->addWidget(reference_pane_);
  panes_->addWidget(main_pane_);
  reference_pane_->hide();
  notices_ = new NoticeStrip;
  ask_bar_ = new AskBar(viewer_);
  auto* middle = new QWidget;
  auto* column = new QVBoxLayout(middle);
  column->setContentsMargins(0, 0, 0, 0);
  column->setSpacing(0);
  column->addWidget(panes_, 1);
  column->addWidget(notices_);
  column->addWidget(ask_bar_);
  setCentralWidget(middle);
  statusBar()->setSizeGripEnabled(false);
  statusBar()->addWidget(new FactsBar(viewer_), 1);

  build_actions();
  build_tool_bar();
  build_panels();
  resize(1280, 800);
  first_docks_ = saveState();
  restoreGeometry(viewer_.settings().get("window/geometry").toByteArray());
  restoreState(viewer_.settings().get("window/docks").toByteArray());

  connect(&viewer_, &Viewer::notice, notices_, &NoticeStrip::add);
  connect(main_pane_, &RunPane::question_suggested, this, [this](const QString& question) {
    ask_bar_->question().setText(question);
    if (!viewer_.busy()) ask_bar_->act();
  });
  for (RunPane* pane : {main_pane_, reference_pane_}) {
    connect(pane, &RunPane::heights_changed, this, [this] {
      if (level_due_) return;
      level_due_ = true;
      QTimer::singleShot(0, this, &MainWindow::level_panes);
    });
  }
  connect(&viewer_.view(), &ViewState::runs_changed, this, [this] {
    const bool two = viewer_.view().reference() != nullptr;
    reference_pane_->setVisible(two);
    main_pane_->set_header_visible(two);
    reference_pane_->set_header_visible(two);
    if (two) panes_->setSizes({1, 1});
    refresh_actions();
  });
  connect(&viewer_.view(), &ViewState::selection_changed, this, &MainWindow::refresh_actions);
  connect(&viewer_.view(), &ViewState::painted_changed, this, &MainWindow::refresh_actions);
  connect(&viewer_.view(), &ViewState::display_changed, this, [this] {
    remember_display(viewer_.settings(), viewer_.view().display());
    refresh_actions();
  });
  connect(&viewer_, &Viewer::busy_changed, this, &MainWindow::refresh_actions);
  connect(&viewer_, &Viewer::prune_changed, this, &MainWindow::refresh_actions);
  connect(&viewer_, &Viewer::shown_picture_changed, this, [this] {
    const PicturePtr picture = viewer_.shown_picture();
    setWindowTitle(picture ? tr("%1 \u2014 Fovea").arg(picture->name()) : QStringLiteral("Fovea"));
    refresh_actions();
  });
  refresh_actions();
}

// ---- Building ----------------------------------------------------------------------------------

void MainWindow::build_actions() {
  for (const ActionRow& row : action_table()) {
    auto* action = new QAction(tr(row.text), this);
    action->setObjectName(QString::fromLatin1(row.name));
    QList<QKeySequence> keys;
    const QStringList written = QString::fromLatin1(row.keys).split(QStringLiteral(" | "));
    for (const QString& key : written) {
      if (!key.isEmpty()) keys << QKeySequence(key);
    }
    action->setShortcuts(keys);
    const QString first =
        keys.isEmpty() ? QString() : keys.front().toString(QKeySequence::NativeText);
    action->setToolTip(first.isEmpty() ? tr(row.tip) : tr("%1 (%2)").arg(tr(row.tip), first));
    if (row.glyph) action->setIcon(icon(*row.glyph));
    action->setCheckable(row.checkable);
    connect(action, &QAction::triggered, this, [this, run = row.run] {
      run(*this);
      refresh_actions();
    });
    actions_.insert(action->objectName(), action);
    const QString menu = QString::fromLatin1(row.menu);
    if (!menus_.contains(menu)) menus_.insert(menu, menuBar()->addMenu(tr(row.menu)));
    if (action->objectName() == QLatin1String("export")) {
      build_recent_menu(menus_[menu]->addMenu(tr("Open recent")));
      menus_[menu]->addSeparator();
    }
    menus_[menu]->addAction(action);
  }
  build_appearance_menu(menus_[QStringLiteral("Window")]->addMenu(tr("Appearance")));
  for (int number = 1; number <= 9; ++number) {
    auto* pick = new QShortcut(QKeySequence(QString::number(number)), this);
    connect(pick, &QShortcut::activated, this,
            [this, number] { viewer_.pictures().select(number - 1); });
  }
}

void MainWindow::build_recent_menu(QMenu* menu) {
  connect(menu, &QMenu::aboutToShow, this, [this, menu] {
    menu->clear();
    const QStringList recent = viewer_.settings().get("recent/pictures").toStringList();
    for (const QString& path : recent) {
      menu->addAction(path, this, [this, path] { open_paths({path}); });
    }
    if (recent.isEmpty()) menu->addAction(tr("nothing yet"))->setEnabled(false);
  });
}

void MainWindow::build_appearance_menu(QMenu* menu) {
  auto* group = new QActionGroup(menu);
  const QString now = viewer_.settings().get("window/appearance").toString();
  const auto add = [&](const QString& name, const QString& text) {
    QAction* action = menu->addAction(text);
    action->setCheckable(true);
    action->setChecked(name == now);
    group->addAction(action);
    connect(action, &QAction::triggered, this, [this, name] {
      viewer_.settings().set("window/appearance", name);
      apply_appearance(name);
    });
  };
  add(QStringLiteral("system"), tr("As the system"));
  add(QStringLiteral("light"), tr("Light"));
  add(QStringLiteral("dark"), tr("Dark"));
}

void MainWindow::build_tool_bar() {
  auto* bar = addToolBar(tr("Tools"));
  bar->setObjectName(QStringLiteral("tools"));
  bar->setMovable(false);
  bar->setIconSize(QSize(18, 18));
  const auto add = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) bar->addAction(actions_[QString::fromLatin1(name)]);
    bar->addSeparator();
  };
  add({"open", "open_folder", "export"});
  add({"previous", "next"});
  add({"fit", "actual_size"});
  bar->setToolButtonStyle(Qt::ToolButtonIconOnly);
  add({"overlay", "attention", "kept", "encoder", "paint"});
  add({"compare"});
  bar->addAction(actions_[QStringLiteral("help")]);
  for (const char* name : {"attention", "kept", "encoder", "paint", "compare", "overlay"}) {
    auto* button = bar->widgetForAction(actions_[QString::fromLatin1(name)]);
    static_cast<QToolButton*>(button)->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
  }
  actions_[QStringLiteral("compare")]->setIconText(tr("Compare"));
  actions_[QStringLiteral("paint")]->setIconText(tr("By hand"));
}

void MainWindow::build_panels() {
  QMenu* menu = menus_[QStringLiteral("Window")];
  menu->addSeparator();
  int number = 0;
  QDockWidget* last_right = nullptr;
  for (const PanelRow& row : panel_table()) {
    auto* dock = new QDockWidget(tr(row.title), this);
    dock->setObjectName(QString::fromLatin1(row.name));
    dock->setToolTip(tr(row.tip));
    dock->setWidget(row.make(viewer_));
    addDockWidget(row.area, dock);
    docks_.insert(dock->objectName(), dock);
    // Answers stay in sight; the panels that explain them share the room below.
    const bool explains =
        row.area == Qt::RightDockWidgetArea && dock->objectName() != QLatin1String("answers");
    if (explains && last_right != nullptr) tabifyDockWidget(last_right, dock);
    if (explains) last_right = dock;
    QAction* toggle = dock->toggleViewAction();
    toggle->setShortcut(QKeySequence(tr("Ctrl+%1").arg(++number)));
    toggle->setToolTip(tr(row.tip));
    menu->addAction(toggle);
  }
  docks_[QStringLiteral("layers")]->raise();
  resizeDocks({docks_[QStringLiteral("pictures")]}, {132}, Qt::Horizontal);
  resizeDocks({docks_[QStringLiteral("answers")]}, {320}, Qt::Horizontal);
  resizeDocks({docks_[QStringLiteral("answers")], docks_[QStringLiteral("layers")]}, {260, 420},
              Qt::Vertical);
}

void MainWindow::refresh_actions() {
  const ViewState& state = viewer_.view();
  const bool run = state.run() != nullptr;
  const bool picture = viewer_.shown_picture() != nullptr;
  const auto set = [this](const char* name, bool enabled) {
    actions_[QString::fromLatin1(name)]->setEnabled(enabled);
  };
  const auto check = [this](const char* name, bool checked) {
    actions_[QString::fromLatin1(name)]->setChecked(checked);
  };
  check("overlay", state.overlay_visible());
  check("attention", state.lens() == Lens::attention);
  check("kept", state.lens() == Lens::kept);
  check("encoder", state.lens() == Lens::encoder);
  check("paint", state.painting());
  check("compare", viewer_.comparing());
  check("smooth", state.display().smooth);
  check("full_screen", isFullScreen());
  for (const char* name :
       {"export", "copy", "zoom_in", "zoom_out", "actual_size", "fit", "fit_width"}) {
    set(name, picture);
  }
  for (const char* name : {"previous_word", "next_word", "previous_layer", "next_layer",
                           "previous_head", "next_head", "mean"}) {
    set(name, run);
  }
  const bool stages = run && !state.run()->answer.pruning.stages.empty();
  set("previous_stage", stages);
  set("next_stage", stages);
  set("ask_again", run && !viewer_.busy());
  set("paint", run);
  set("encoder", picture);
  set("ask_painted", run && !viewer_.busy() && !state.painted().empty());
  set("forget", viewer_.history().rowCount() > 0 && !viewer_.busy());
  const bool several = viewer_.pictures().files().size() > 1;
  set("previous", several);
  set("next", several);
}

void MainWindow::level_panes() {
  level_due_ = false;
  if (viewer_.view().reference() != nullptr) {
    RunPane::level(*main_pane_, *reference_pane_);
  } else {
    main_pane_->stand_alone();
  }
}

// ---- What actions do ---------------------------------------------------------------------------

void MainWindow::open_paths(const QStringList& paths) {
  if (paths.isEmpty()) return;
  for (const QString& path : paths) {
    viewer_.settings().remember("recent/pictures", QFileInfo(path).absoluteFilePath());
  }
  viewer_.pictures().open(paths);
}

void MainWindow::restore_session() {
  Settings& settings = viewer_.settings();
  ask_bar_->question().setText(settings.get("session/question").toString());
  QStringList files = settings.get("session/files").toStringList();
  files.removeIf([](const QString& file) { return !QFileInfo::exists(file); });
  int index = settings.get("session/index").toInt();
  if (files.isEmpty()) {
    const auto samples = find_bundled("samples");
    if (!samples) return;
    files = pictures_in_folder(QString::fromStdString(*samples));
    // The park: a picture about which much can be asked.
    index = std::max(0, static_cast<int>(files.indexOf(QRegularExpression(".*/park\\.png"))));
  }
  viewer_.pictures().open(files);
  viewer_.pictures().select(std::clamp(index, 0, static_cast<int>(files.size()) - 1));
}

void MainWindow::open_files() {
  const QStringList recent = viewer_.settings().get("recent/pictures").toStringList();
  const QString folder = recent.isEmpty() ? QString() : QFileInfo(recent.front()).absolutePath();
  open_paths(QFileDialog::getOpenFileNames(
      this, tr("Open pictures"), folder, tr("Pictures (*.png *.jpg *.jpeg *.bmp);;All files (*)")));
}

void MainWindow::open_folder() {
  const QStringList recent = viewer_.settings().get("recent/pictures").toStringList();
  const QString folder = QFileDialog::getExistingDirectory(
      this, tr("Open folder"), recent.isEmpty() ? QString() : recent.front());
  if (!folder.isEmpty()) open_paths({folder});
}

void MainWindow::choose_model() {
  (new ModelDialog(viewer_, this))->show();
}

QImage MainWindow::picture_of_view() {
  return panes_->grab().toImage();
}

void MainWindow::export_view() {
  Settings& settings = viewer_.settings();
  const PicturePtr picture = viewer_.shown_picture();
  if (!picture) return;
  const ExportedRow& last = find_exported(settings.get("recent/export_kind").toString());
  QStringList filters;
  for (const ExportedRow& row : kExported) filters << tr(row.filter);
  QString chosen = tr(last.filter);
  const QString name =
      QStringLiteral("%1-%2.png")
          .arg(QFileInfo(picture->path()).completeBaseName(), QString::fromLatin1(last.name));
  const QString folder = settings.get("recent/export_folder").toString();
  const QString file =
      QFileDialog::getSaveFileName(this, tr("Export, with values as .npy and JSON"),
                                   folder.isEmpty() ? name : folder + QLatin1Char('/') + name,
                                   filters.join(QStringLiteral(";;")), &chosen);
  if (file.isEmpty()) return;
  const auto kind = static_cast<std::size_t>(std::max<qsizetype>(filters.indexOf(chosen), 0));
  settings.set("recent/export_folder", QFileInfo(file).absolutePath());
  settings.set("recent/export_kind", QString::fromLatin1(kExported[kind].name));
  if (const Status written = export_to(file, kExported[kind].kind); !written) {
    notices_->add(written.error());
  }
}

Status MainWindow::export_to(const QString& file, Exported kind) {
  FOVEA_TRY(const QImage picture,
            exported_picture(kind, viewer_, main_pane_->picture_view(), picture_of_view()));
  return export_files(file, picture, viewer_, main_pane_->picture_view().scene());
}

void MainWindow::copy_view() {
  QApplication::clipboard()->setImage(picture_of_view());
}

void MainWindow::focus_question() {
  ask_bar_->question().setFocus();
  ask_bar_->question().selectAll();
}

void MainWindow::escape() {
  ViewState& state = viewer_.view();
  if (viewer_.busy()) {
    viewer_.stop();
  } else if (notices_->isVisible()) {
    notices_->dismiss();
  } else if (ask_bar_->question().hasFocus()) {
    main_pane_->strip().setFocus();
  } else if (state.painting()) {
    state.set_painting(false);
  } else if (state.patch() != ViewState::kNoPatch) {
    state.select_patch(ViewState::kNoPatch);
  } else {
    state.select_token(ViewState::kWholeAnswer);
  }
}

void MainWindow::zoom_by(double factor) {
  main_pane_->picture_view().zoom_by(factor);
}

void MainWindow::zoom_to_actual_size() {
  main_pane_->picture_view().zoom_to_actual_size();
}

void MainWindow::step_stage(int by) {
  viewer_.view().set_lens(Lens::kept);
  viewer_.view().set_stage(viewer_.view().stage() + by);
}

void MainWindow::toggle_smooth() {
  Display display = viewer_.view().display();
  display.smooth = !display.smooth;
  viewer_.view().set_display(display);
}

void MainWindow::toggle_full_screen() {
  isFullScreen() ? showNormal() : showFullScreen();
}

void MainWindow::reset_docks() {
  restoreState(first_docks_);
}

void MainWindow::show_keys() {
  (new KeysPage(this))->show();
}

// ---- Session -----------------------------------------------------------------------------------

void MainWindow::save_session() {
  Settings& settings = viewer_.settings();
  settings.set("window/geometry", saveGeometry());
  settings.set("window/docks", saveState());
  settings.set("session/files", viewer_.pictures().files());
  settings.set("session/index", viewer_.pictures().index());
  settings.set("session/question", ask_bar_->question().text());
}

void MainWindow::closeEvent(QCloseEvent* event) {
  save_session();
  viewer_.stop();
  event->accept();
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
  if (event->mimeData()->hasUrls()) event->acceptProposedAction();
}

void MainWindow::dropEvent(QDropEvent* event) {
  QStringList paths;
  const QList<QUrl> urls = event->mimeData()->urls();
  for (const QUrl& url : urls) {
    if (url.isLocalFile()) paths << url.toLocalFile();
  }
  open_paths(paths);
}

}  // namespace fovea::gui
