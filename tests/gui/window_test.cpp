// The window as a person uses it: keys, clicks and drops, with the bundled model. Runs without a
// screen, and in tests/run.sh --full on a real X server.

#include "gui/main_window.h"

#include <QApplication>
#include <QDockWidget>
#include <QMimeData>
#include <QScrollBar>
#include <QSet>
#include <QSlider>
#include <QTabBar>
#include <QWheelEvent>

#include "gui/actions.h"
#include "gui/model_dialog.h"
#include "gui/panels/panel_table.h"
#include "gui_support.h"

namespace fovea::gui {
namespace {

class WindowTest : public ViewerTest {
 protected:
  WindowTest() : window_(std::make_unique<MainWindow>(*viewer_)) {
    // Letters of one word, however long a busy machine takes between them.
    QApplication::setKeyboardInputInterval(kPatience);
    window_->resize(1280, 800);
    window_->show();
    window_->activateWindow();
    EXPECT_TRUE(QTest::qWaitForWindowActive(window_.get(), kPatience));
  }

  /// Any control, by the name that screen readers say.
  template <class Widget>
  Widget* control(const QString& name) {
    const auto all = window_->findChildren<Widget*>();
    const auto found = std::find_if(all.begin(), all.end(), [&](const Widget* widget) {
      return widget->accessibleName() == name;
    });
    EXPECT_NE(found, all.end()) << name.toStdString();
    return found == all.end() ? nullptr : *found;
  }

  void type_question(const QString& question) {
    QTest::keyClick(window_.get(), Qt::Key_L, Qt::ControlModifier);
    QLineEdit& line = window_->ask_bar().question();
    ASSERT_TRUE(wait([&] { return line.hasFocus(); }));
    QTest::keyClicks(&line, question);
    QTest::keyClick(&line, Qt::Key_Escape);  // the list of earlier questions, if it is open
    ASSERT_EQ(line.text(), question);
  }
  RunPtr type_and_ask(const QString& question) {
    type_question(question);
    QTest::keyClick(&window_->ask_bar().question(), Qt::Key_Return);
    EXPECT_TRUE(wait_idle());
    EXPECT_TRUE(wait_maps());
    for (const Error& error : notices_) ADD_FAILURE() << error.to_string();
    return viewer_->view().run();
  }

  /// Waits until the pane's overlay is that of maps that have arrived.
  bool wait_scene() {
    return wait([this] {
      const OverlayScene& scene = window_->main_pane().picture_view().scene();
      return scene.rows > 0 && !scene.waiting;
    });
  }

  /// Waits until the overlay is the mean over every word of an unpruned answer: they come one by
  /// one.
  bool wait_whole_answer(const RunPtr& run) {
    return run && wait_scene() && wait([&] {
             const Reading* whole = viewer_->readings().of(*run, ViewState::kWholeAnswer);
             return whole != nullptr && viewer_->readings().count(*run) == run->words() &&
                    window_->main_pane().picture_view().scene().values == whole->values;
           });
  }

  void choose_method(const QString& method, int budget) {
    auto* methods = control<QComboBox>(QStringLiteral("Pruning method"));
    methods->setFocus();
    // As a keyboard does it: the first letter goes to the method.
    QTest::keyClicks(methods, method);
    ASSERT_EQ(methods->currentText(), method);
    QTest::keyClick(methods, Qt::Key_Return);
    control<QSpinBox>(QStringLiteral("Token budget"))->setValue(budget);
    ASSERT_EQ(viewer_->prune().method, method);
  }

  void drop(const QStringList& paths) {
    QMimeData data;
    QList<QUrl> urls;
    for (const QString& path : paths) urls << QUrl::fromLocalFile(path);
    data.setUrls(urls);
    QDragEnterEvent enter(QPoint(400, 300), Qt::CopyAction, &data, Qt::LeftButton, {});
    QApplication::sendEvent(window_.get(), &enter);
    ASSERT_TRUE(enter.isAccepted());
    QDropEvent dropped(QPointF(400, 300), Qt::CopyAction, &data, Qt::LeftButton, {});
    QApplication::sendEvent(window_.get(), &dropped);
  }

  std::unique_ptr<MainWindow> window_;
};

TEST_F(WindowTest, a_typed_question_is_answered) {
  open();
  const RunPtr run = type_and_ask(short_sample().question);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->text(), short_sample().answer);
  ASSERT_TRUE(wait_scene());
  EXPECT_FALSE(window_->main_pane().picture_view().scene().heat.isNull());
  EXPECT_EQ(window_->main_pane().strip().model()->rowCount(), run->words() + 1);
  EXPECT_FALSE(window_->notices().isVisible());
}

TEST_F(WindowTest, the_overlay_follows_the_word_that_is_clicked_or_stepped_to) {
  open();
  const RunPtr run = type_and_ask(short_sample().question);
  ASSERT_TRUE(wait_whole_answer(run));
  PictureView& picture = window_->main_pane().picture_view();
  const std::vector<float> whole = picture.scene().values;
  TokenStrip& strip = window_->main_pane().strip();
  const QPoint second = strip.visualRect(strip.model()->index(1, 0)).center();
  QTest::mouseClick(strip.viewport(), Qt::LeftButton, {}, second);
  EXPECT_EQ(viewer_->view().token(), 1);
  EXPECT_NE(picture.scene().values, whole);
  EXPECT_EQ(picture.scene().values, viewer_->readings().of(*run, 1)->values);
  QTest::keyClick(&strip, Qt::Key_Left);
  EXPECT_EQ(viewer_->view().token(), 0);
  QTest::keyClick(&strip, Qt::Key_Home);
  EXPECT_EQ(viewer_->view().token(), ViewState::kWholeAnswer);
  EXPECT_EQ(picture.scene().values, whole);
  QTest::keyClick(&strip, Qt::Key_S);  // anywhere in the window: the next word
  EXPECT_EQ(viewer_->view().token(), 0);
}

TEST_F(WindowTest, layers_and_heads_change_by_slider_list_and_keys) {
  open();
  const RunPtr run = type_and_ask(short_sample().question);
  ASSERT_TRUE(wait_whole_answer(run));
  PictureView& picture = window_->main_pane().picture_view();
  const std::vector<float> mean = picture.scene().values;
  auto* layer = control<QSlider>(QStringLiteral("Layer"));
  layer->setValue(2);
  EXPECT_EQ(viewer_->view().choice().layer, 2);
  const std::vector<float> second = picture.scene().values;
  EXPECT_NE(second, mean);
  QTest::keyClick(&window_->main_pane().strip(), Qt::Key_BracketRight);
  EXPECT_EQ(viewer_->view().choice().layer, 3);
  EXPECT_EQ(layer->value(), 3);
  EXPECT_NE(picture.scene().values, second);
  QTest::keyClick(&window_->main_pane().strip(), Qt::Key_Period);
  EXPECT_EQ(viewer_->view().choice().heads.kind, HeadChoice::Kind::max);
  QTest::keyClick(&window_->main_pane().strip(), Qt::Key_Period);
  EXPECT_EQ(viewer_->view().choice().heads, (HeadChoice{HeadChoice::Kind::one, 0}));
  EXPECT_EQ(control<QComboBox>(QStringLiteral("Heads"))->currentText(), "head 0");
  QTest::keyClick(&window_->main_pane().strip(), Qt::Key_M);
  EXPECT_EQ(picture.scene().values, mean);
}

TEST_F(WindowTest, a_clicked_patch_says_which_words_looked_at_it) {
  open();
  const RunPtr run = type_and_ask(short_sample().question);
  ASSERT_TRUE(wait_whole_answer(run));
  PictureView& picture = window_->main_pane().picture_view();
  const QPoint place = picture.middle_of(300).toPoint();
  QTest::mouseClick(&picture, Qt::LeftButton, {}, place);
  EXPECT_EQ(viewer_->view().patch(), 300);
  EXPECT_TRUE(picture.describe(picture.place_at(place)).contains("patch 300"));
  QTest::mouseClick(&picture, Qt::LeftButton, {}, place);
  EXPECT_EQ(viewer_->view().patch(), ViewState::kNoPatch);
}

TEST_F(WindowTest, comparing_shows_both_answers_side_by_side_and_zooms_them_together) {
  open();
  choose_method("fastv", 100);
  QTest::mouseClick(window_->ask_bar().findChild<QCheckBox*>("compare"), Qt::LeftButton);
  ASSERT_TRUE(viewer_->comparing());
  const RunPtr run = type_and_ask(other_sample().question);
  ASSERT_TRUE(run && viewer_->view().reference());
  EXPECT_EQ(viewer_->view().reference()->text(), other_sample().answer);
  EXPECT_TRUE(window_->reference_pane().isVisible());
  PictureView& left = window_->reference_pane().picture_view();
  PictureView& right = window_->main_pane().picture_view();
  const auto place = [](const PictureView& view) { return view.mapToGlobal(QPoint()); };
  EXPECT_LT(place(left).x(), place(right).x());
  ASSERT_TRUE(wait([&] {
    return place(left).y() == place(right).y() && left.height() == right.height();
  })) << "they stand level";
  const double before = right.zoom();
  QWheelEvent wheel(QPointF(50, 50), left.mapToGlobal(QPointF(50, 50)), {}, {0, 240}, Qt::NoButton,
                    {}, Qt::NoScrollPhase, false);
  QApplication::sendEvent(&left, &wheel);
  EXPECT_GT(right.zoom(), before * 1.2);
  EXPECT_DOUBLE_EQ(right.zoom(), left.zoom());
  QTest::keyClick(&window_->main_pane().strip(), Qt::Key_C);
  EXPECT_FALSE(window_->reference_pane().isVisible());
}

TEST_F(WindowTest, stages_are_stepped_through_by_keys_and_counted) {
  open();
  choose_method("fastv", 100);
  const RunPtr run = type_and_ask(short_sample().question);
  ASSERT_TRUE(run);
  ASSERT_EQ(run->answer.pruning.stages.size(), 1U);
  QTest::keyClick(&window_->main_pane().strip(), Qt::Key_P);
  PictureView& picture = window_->main_pane().picture_view();
  const auto kept = [&] {
    const auto& cells = picture.scene().cells;
    return static_cast<std::size_t>(std::count(cells.begin(), cells.end(), CellState::present));
  };
  EXPECT_EQ(kept(), run->answer.pruning.stages[0].kept.size());
  QTest::keyClick(&window_->main_pane().strip(), Qt::Key_BracketLeft, Qt::ControlModifier);
  EXPECT_EQ(viewer_->view().stage(), 0);
  EXPECT_EQ(kept(), picture.scene().cells.size());
}

TEST_F(WindowTest, the_vision_tower_is_looked_at_without_a_question) {
  open();
  QTest::keyClick(window_.get(), Qt::Key_V);
  ASSERT_TRUE(wait_scene());
  const std::vector<float> mean = window_->main_pane().picture_view().scene().values;
  window_->panel("encoder")->raise();
  auto* layers = control<QComboBox>(QStringLiteral("Layer of the vision tower"));
  ASSERT_TRUE(wait([&] { return layers->count() > 2; }));
  auto* list = control<QWidget>(QStringLiteral("Layers by how local their attention is"));
  QTest::mouseClick(list, Qt::LeftButton, {}, QPoint(20, 10));
  EXPECT_EQ(viewer_->view().encoder().layer, 0);
  EXPECT_EQ(layers->currentText(), "layer 0");
  EXPECT_NE(window_->main_pane().picture_view().scene().values, mean);
  EXPECT_TRUE(list->accessibleDescription().contains("hybrid") ||
              list->accessibleDescription().contains("local") ||
              list->accessibleDescription().contains("global"));
}

TEST_F(WindowTest, a_narrow_window_leaves_room_for_the_question) {
  AskBar& bar = window_->ask_bar();
  for (const int width : {600, 1600, 500}) {
    bar.resize(width, bar.sizeHint().height());
    QTest::qWait(0);
    EXPECT_GT(bar.question().width(), 200) << width;
  }
}

TEST_F(WindowTest, patches_are_painted_with_the_mouse_and_asked_with) {
  open();
  const RunPtr whole = type_and_ask(short_sample().question);
  ASSERT_TRUE(whole && wait_scene());
  PictureView& picture = window_->main_pane().picture_view();
  QTest::keyClick(&window_->main_pane().strip(), Qt::Key_K);
  ASSERT_TRUE(viewer_->view().painting());
  const auto drag = [&](int from, int to, Qt::KeyboardModifiers keys) {
    const QPoint start = picture.middle_of(from).toPoint(), end = picture.middle_of(to).toPoint();
    QTest::mousePress(&picture, Qt::LeftButton, keys, start);
    QMouseEvent move(QEvent::MouseMove, QPointF(end), picture.mapToGlobal(QPointF(end)),
                     Qt::NoButton, Qt::LeftButton, keys);
    QApplication::sendEvent(&picture, &move);
    QTest::mouseRelease(&picture, Qt::LeftButton, keys, end);
  };
  drag(240, 250, {});
  EXPECT_EQ(viewer_->view().painted().size(), 11U) << "a quick stroke leaves no gaps";
  drag(249, 250, Qt::ControlModifier);
  EXPECT_EQ(viewer_->view().painted().size(), 9U);
  QTest::keyClick(&window_->main_pane().strip(), Qt::Key_K, Qt::ControlModifier);
  ASSERT_TRUE(wait_idle());
  const RunPtr run = viewer_->view().run();
  EXPECT_NE(run, whole);
  EXPECT_EQ(run->prune.keep.size(), 9U);
  EXPECT_FALSE(viewer_->view().painting());
}

TEST_F(WindowTest, escape_stops_an_answer_and_what_was_said_stays) {
  open();
  const RunPtr run =
      ask_and_stop([this] { return type_and_ask(long_sample().question); },
                   [this] { QTest::keyClick(&window_->main_pane().strip(), Qt::Key_Escape); });
  ASSERT_TRUE(run);
  EXPECT_EQ(run->answer.finish_reason, FinishReason::cancelled);
  EXPECT_TRUE(long_sample().answer.startsWith(run->text()));
  EXPECT_LT(run->text().size(), long_sample().answer.size());
  window_->ask_bar().question().clear();
  EXPECT_EQ(type_and_ask(short_sample().question)->text(), short_sample().answer);
}

TEST_F(WindowTest, a_dropped_file_that_is_damaged_is_said_in_the_strip) {
  open();
  QFile whole(asset("samples/" + long_sample().image));
  ASSERT_TRUE(whole.open(QIODevice::ReadOnly));
  const QString damaged = write("damaged.png", whole.read(whole.size() / 2));
  drop({damaged});
  ASSERT_TRUE(wait([&] { return window_->notices().isVisible(); }));
  EXPECT_TRUE(window_->notices().notices().last().contains("damaged.png"));
  EXPECT_EQ(QApplication::activeModalWidget(), nullptr);
  EXPECT_EQ(window_->main_pane().picture_view().picture(), nullptr);
  notices_.clear();
  // A good one after it is looked at as if nothing had been.
  drop({asset("samples/" + long_sample().image)});
  ASSERT_TRUE(wait([this] { return viewer_->pictures().current() != nullptr; }));
  EXPECT_EQ(type_and_ask(short_sample().question)->text(), short_sample().answer);
}

TEST_F(WindowTest, many_damaged_files_are_told_one_at_a_time_as_they_are_looked_at) {
  QStringList files;
  for (int i = 0; i < 12; ++i) files << write(QStringLiteral("%1.png").arg(i), "no picture");
  drop(files);
  ASSERT_TRUE(wait([&] {
    for (int i = 0; i < files.size(); ++i) {
      if (!viewer_->pictures().broken(i)) return false;
    }
    return window_->notices().notices().size() == 1;
  }));
  QTest::keyClick(window_.get(), Qt::Key_D);
  ASSERT_TRUE(wait([&] { return window_->notices().notices().size() == 2; }));
  EXPECT_EQ(QApplication::activeModalWidget(), nullptr);
  EXPECT_LT(window_->notices().height(), 100);
}

TEST_F(WindowTest, closing_in_the_middle_of_an_answer_is_safe) {
  open();
  bool said = false;
  QObject::connect(&viewer_->inference(), &Inference::piece, window_.get(), [&] { said = true; });
  type_question(long_sample().question);
  QTest::keyClick(&window_->ask_bar().question(), Qt::Key_Return);
  ASSERT_TRUE(wait([&] { return said; }));
  EXPECT_TRUE(window_->close());
  window_.reset();
  viewer_.reset();
  // What was open is there at the next start.
  EXPECT_EQ(settings_.get("session/question").toString(), long_sample().question);
  EXPECT_FALSE(settings_.get("session/files").toStringList().isEmpty());
}

TEST_F(WindowTest, a_model_is_chosen_with_what_it_takes_of_memory_and_remembered) {
  open();
  QTest::keyClick(window_.get(), Qt::Key_M, Qt::ControlModifier);
  auto* dialog = window_->findChild<ModelDialog*>();
  ASSERT_NE(dialog, nullptr);
  dialog->choose_folder(folder_.filePath("nothing"));
  ASSERT_TRUE(wait([&] { return dialog->facts().contains("config.json"); }));
  EXPECT_FALSE(dialog->can_load());
  const QString guide = asset("models/fovea-guide");
  dialog->choose_folder(guide);
  ASSERT_TRUE(wait([&] { return dialog->can_load(); }));
  EXPECT_TRUE(dialog->facts().contains("fovea-guide"));
  EXPECT_TRUE(dialog->facts().contains("MB for the weights"));
  EXPECT_EQ(viewer_->inference().model()->id, "fovea-base") << "only looked at so far";
  dialog->accept();
  ASSERT_TRUE(wait_idle());
  EXPECT_EQ(viewer_->inference().model()->id, "fovea-guide");
  EXPECT_EQ(settings_.get("model/folder").toString(), guide);
  EXPECT_EQ(settings_.get("recent/models").toStringList(), QStringList(guide));
}

TEST_F(WindowTest, device_type_and_guide_are_chosen_with_the_model_and_remembered) {
  open();
  QTest::keyClick(window_.get(), Qt::Key_M, Qt::ControlModifier);
  auto* dialog = window_->findChild<ModelDialog*>();
  ASSERT_NE(dialog, nullptr);
  const auto box = [&](const char* name) {
    const auto all = dialog->findChildren<QComboBox*>();
    const auto found = std::find_if(all.begin(), all.end(), [&](const QComboBox* one) {
      return one->accessibleName() == QLatin1String(name);
    });
    return found == all.end() ? nullptr : *found;
  };
  QComboBox *device = box("Device"), *dtype = box("Weights as"), *guide = box("Guide");
  ASSERT_TRUE(device && dtype && guide);
  device->setCurrentIndex(device->findData("cpu"));
  dtype->setCurrentIndex(dtype->findText("f16"));
  ASSERT_TRUE(wait([&] { return dialog->facts().contains("f16"); }));
  EXPECT_FALSE(dialog->can_load()) << "the CPU does not compute in half precision";
  dtype->setCurrentIndex(dtype->findText("bf16"));
  guide->setEditText(asset("models/fovea-guide"));
  ASSERT_TRUE(wait([&] { return dialog->can_load(); }));
  EXPECT_TRUE(dialog->facts().contains("Guide fovea-guide"));
  dialog->accept();
  ASSERT_TRUE(wait_idle());
  EXPECT_EQ(viewer_->inference().model()->dtype, "bf16");
  EXPECT_EQ(viewer_->inference().model()->device, "cpu");
  EXPECT_EQ(settings_.get("model/device").toString(), "cpu");
  EXPECT_EQ(settings_.get("model/dtype").toString(), "bf16");
  EXPECT_EQ(settings_.get("model/guide").toString(), asset("models/fovea-guide"));
  EXPECT_TRUE(notices_.empty());
}

TEST_F(WindowTest, a_guide_is_asked_and_stands_beside_the_model) {
  open();
  choose_method("sgl", 0);
  auto* against = control<QComboBox>(QStringLiteral("Compare with"));
  against->setCurrentIndex(against->findText("the guide's own answer"));
  Q_EMIT against->activated(against->currentIndex());
  QTest::mouseClick(window_->ask_bar().findChild<QCheckBox*>("compare"), Qt::LeftButton);
  const RunPtr run = type_and_ask(short_sample().question);
  ASSERT_TRUE(run && viewer_->view().reference());
  EXPECT_TRUE(viewer_->view().reference()->by_guide());
  EXPECT_TRUE(window_->reference_pane().isVisible());
  const auto labels = window_->reference_pane().findChildren<QLabel*>();
  EXPECT_TRUE(std::any_of(labels.begin(), labels.end(), [](const QLabel* label) {
    return label->text().contains("The guide alone");
  }));
  auto* exit = control<QComboBox>(QStringLiteral("When the guide's answer is taken"));
  EXPECT_FALSE(exit->isHidden());
  exit->setCurrentIndex(2);
  Q_EMIT exit->activated(2);
  EXPECT_TRUE(viewer_->prune().exit_by_confidence);
  EXPECT_EQ(viewer_->prune().exit_threshold, 0.9);
  auto* method = control<QComboBox>(QStringLiteral("Pruning method"));
  method->setCurrentIndex(0);
  Q_EMIT method->activated(0);
  EXPECT_FALSE(viewer_->prune().prunes());
  EXPECT_FALSE(exit->isVisible()) << "only sgl has a guide";
}

TEST_F(WindowTest, thresholds_of_the_tower_are_chosen_and_leave_what_lies_above_them) {
  open();
  auto* tower = control<QComboBox>(QStringLiteral("Patches that stay in the tower"));
  auto* share = control<QSpinBox>(QStringLiteral("Share left in the tower"));
  auto* first = control<QDoubleSpinBox>(QStringLiteral("Threshold of cut 1"));
  auto* last = control<QDoubleSpinBox>(QStringLiteral("Threshold of cut 3"));
  EXPECT_TRUE(first->parentWidget()->isHidden()) << "nothing has thresholds yet";
  tower->setCurrentIndex(tower->findText("above a score (adaptive)"));
  Q_EMIT tower->activated(tower->currentIndex());
  EXPECT_EQ(viewer_->prune().tower, PruneChoice::Tower::adaptive);
  EXPECT_EQ(viewer_->prune().tower_thresholds, kFirstTowerThresholds);
  EXPECT_FALSE(first->parentWidget()->isHidden());
  EXPECT_FALSE(share->isEnabled()) << "how many stay is the picture's";
  const RunPtr few = type_and_ask(short_sample().question);
  ASSERT_TRUE(few);
  ASSERT_EQ(few->answer.pruning.stages.size(), 3U);
  const auto left = few->answer.pruning.stages.back().kept.size();
  EXPECT_GT(left, 0U);
  EXPECT_LT(left, 576U);

  last->setValue(0.0005);
  EXPECT_EQ(viewer_->prune().tower_thresholds, (std::array<double, 3>{0.0006, 0.0005, 0.0005}));
  const RunPtr more = type_and_ask(short_sample().question);
  ASSERT_TRUE(more);
  const auto& stages = more->answer.pruning.stages;
  ASSERT_EQ(stages.size(), 3U);
  EXPECT_EQ(stages[1].kept, few->answer.pruning.stages[1].kept) << "the cuts before are the same";
  EXPECT_GT(stages[2].kept.size(), left);

  tower->setCurrentIndex(0);
  Q_EMIT tower->activated(0);
  EXPECT_TRUE(first->parentWidget()->isHidden());
  EXPECT_EQ(type_and_ask(short_sample().question)->text(), short_sample().answer);
}

TEST_F(WindowTest, a_broken_model_is_said_in_the_strip_and_the_one_before_answers) {
  open();
  QDir(folder_.path()).mkdir("broken");
  write("broken/config.json", "{\"model_type\": \"llava\", \"text_config\": 7}");
  viewer_->use_model({.folder = folder_.filePath("broken")});
  ASSERT_TRUE(wait_idle());
  EXPECT_TRUE(settings_.get("model/folder").toString().isEmpty()) << "not for the next start";
  ASSERT_TRUE(window_->notices().isVisible());
  EXPECT_TRUE(window_->notices().notices().last().contains("config.json"))
      << window_->notices().notices().last().toStdString();
  notices_.clear();
  EXPECT_EQ(type_and_ask(short_sample().question)->text(), short_sample().answer);
}

TEST_F(WindowTest, no_key_means_two_things) {
  QSet<QKeySequence> taken;
  const auto take = [&](const QAction* action) {
    for (const QKeySequence& keys : action->shortcuts()) {
      EXPECT_FALSE(taken.contains(keys)) << keys.toString().toStdString();
      taken.insert(keys);
    }
  };
  for (const ActionRow& row : action_table()) {
    const QAction* action = window_->action(QString::fromLatin1(row.name));
    ASSERT_NE(action, nullptr) << row.name;
    EXPECT_FALSE(action->toolTip().isEmpty()) << row.name;
    take(action);
  }
  for (const PanelRow& row : panel_table()) {
    take(window_->panel(QString::fromLatin1(row.name))->toggleViewAction());
  }
}

TEST_F(WindowTest, every_control_says_what_it_is_for) {
  for (const QWidget* widget : window_->findChildren<QWidget*>()) {
    const bool control = qobject_cast<const QAbstractButton*>(widget) != nullptr ||
                         qobject_cast<const QComboBox*>(widget) != nullptr ||
                         qobject_cast<const QAbstractSlider*>(widget) != nullptr ||
                         qobject_cast<const QAbstractSpinBox*>(widget) != nullptr;
    // Qt's own parts: arrows of scroll bars, buttons of docks and of the line editor.
    const bool part = qobject_cast<const QScrollBar*>(widget) != nullptr ||
                      widget->objectName().startsWith("qt_") ||
                      qobject_cast<const QLineEdit*>(widget->parentWidget()) != nullptr ||
                      qobject_cast<const QTabBar*>(widget->parentWidget()) != nullptr;
    if (!control || part) continue;
    EXPECT_FALSE(widget->toolTip().isEmpty()) << widget->metaObject()->className() << " in "
                                              << widget->parentWidget()->metaObject()->className();
  }
}

}  // namespace
}  // namespace fovea::gui
