#include "gui/script.h"

#include <QApplication>
#include <QDateTime>
#include <QDir>
#include <QDockWidget>
#include <QFile>
#include <QJsonDocument>
#include <QJsonObject>
#include <QTimer>
#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "gui/theme.h"

namespace fovea::gui {
namespace {

constexpr int kLook = 20;      // ms between looks
constexpr int kCalmLooks = 3;  // drawing is put off by a few ms
constexpr qint64 kMostWait = 180'000;

Error wrong(const QString& message) {
  return make_error(ErrorCode::usage, message.toStdString());
}

Result<int> number(const QStringList& words, int index) {
  bool valid = false;
  const int value = words.value(index).toInt(&valid);
  if (!valid) return wrong(QStringLiteral("\"%1\" is no number").arg(words.value(index)));
  return value;
}

Result<bool> on_off(const QStringList& words) {
  if (words.value(0) == QLatin1String("on")) return true;
  if (words.value(0) == QLatin1String("off")) return false;
  return wrong(QStringLiteral("write on or off"));
}

/// Resident memory in bytes, 0 where the system does not say.
qint64 resident_bytes() {
  QFile statm(QStringLiteral("/proc/self/statm"));
  if (!statm.open(QIODevice::ReadOnly)) return 0;
  const QList<QByteArray> pages = statm.readAll().split(' ');
  return pages.size() > 1 ? pages[1].toLongLong() * 4096 : 0;
}

void say(const QJsonObject& object) {
  std::printf("%s\n", QJsonDocument(object).toJson(QJsonDocument::Compact).constData());
  std::fflush(stdout);
}

}  // namespace

Script::Script(MainWindow& window, QString folder) : window_(window), folder_(std::move(folder)) {}

Status Script::load(const QString& file) {
  QFile source(file);
  if (!source.open(QIODevice::ReadOnly)) {
    return make_error(ErrorCode::not_found, source.errorString().toStdString())
        .in_file(file.toStdString());
  }
  lines_ = QString::fromUtf8(source.readAll()).split(QLatin1Char('\n'));
  if (!QDir().mkpath(folder_)) {
    return make_error(ErrorCode::io, "the folder cannot be made").in_file(folder_.toStdString());
  }
  return {};
}

void Script::start() {
  line_ = 0;
  wait_for_rest();
}

bool Script::resting() const {
  Viewer& viewer = window_.viewer();
  const ImageSource& pictures = viewer.pictures();
  const bool picture =
      pictures.index() < 0 || pictures.current() || !pictures.current_error().isEmpty();
  return !viewer.busy() && !viewer.inference().loading() && viewer.maps().idle() &&
         viewer.encoder().idle() && picture;
}

void Script::wait_for_rest() {
  waiting_.start();
  calm_ = 0;
  auto* timer = new QTimer(this);
  connect(timer, &QTimer::timeout, this, [this, timer] {
    calm_ = resting() ? calm_ + 1 : 0;
    if (calm_ == 1) at_rest_ = QDateTime::currentMSecsSinceEpoch();
    if (calm_ >= kCalmLooks) {
      timer->deleteLater();
      timer->stop();
      next();
    } else if (waiting_.elapsed() > kMostWait) {
      timer->deleteLater();
      timer->stop();
      Q_EMIT finished(make_error(ErrorCode::internal, "the window does not come to rest")
                          .at(static_cast<std::uint64_t>(line_)));
    }
  });
  timer->start(kLook);
}

void Script::next() {
  while (line_ < lines_.size()) {
    const QString line = lines_[line_++].trimmed();
    if (line.isEmpty() || line.startsWith(QLatin1Char('#'))) continue;
    const QString command = line.section(QLatin1Char(' '), 0, 0);
    const QString rest = line.section(QLatin1Char(' '), 1).trimmed();
    if (Status status = run(command, rest.split(QLatin1Char(' '), Qt::SkipEmptyParts), rest);
        !status) {
      Q_EMIT finished(std::move(status).error().at(static_cast<std::uint64_t>(line_)));
      return;
    }
    return wait_for_rest();
  }
  Q_EMIT finished({});
}

Status Script::shoot(const QString& name) {
  QWidget* shown = QApplication::activeModalWidget();
  for (QWidget* widget : QApplication::topLevelWidgets()) {
    if (shown == nullptr && widget->isVisible() && widget->inherits("QDialog")) shown = widget;
  }
  if (shown == nullptr) shown = &window_;
  const QString file = folder_ + QLatin1Char('/') + name + QStringLiteral(".png");
  if (!shown->grab().save(file)) {
    return make_error(ErrorCode::io, "the picture cannot be written").in_file(file.toStdString());
  }
  if (shown != &window_) shown->close();
  return {};
}

void Script::stop_later() {
  QTimer::singleShot(*stop_after_, Qt::PreciseTimer, this, [this] {
    Viewer& viewer = window_.viewer();
    const bool running = viewer.busy();
    QElapsedTimer since_stop;
    since_stop.start();
    viewer.stop();
    auto* watch = new QObject(this);
    const auto report = [this, watch, since_stop, running] {
      if (window_.viewer().busy()) return;
      const auto took = static_cast<double>(since_stop.nsecsElapsed()) / 1e6;
      say({{"stopped_while_running", running}, {"stop_ms", took}});
      watch->deleteLater();
    };
    connect(&viewer, &Viewer::busy_changed, watch, report);
    if (!running) report();
  });
  stop_after_.reset();
}

void Script::print_probe() {
  std::vector<double> took = probe_.stop();
  std::sort(took.begin(), took.end());
  if (took.empty()) return;
  say({{"moves", static_cast<qint64>(took.size())},
       {"input_ms_median", took[took.size() / 2]},
       {"input_ms_p99", took[took.size() * 99 / 100]},
       {"input_ms_worst", took.back()}});
}

Status Script::paint(const QStringList& words) {
  const OverlayScene& scene = window_.main_pane().picture_view().scene();
  std::array<int, 4> corners{};
  for (int i = 0; i < 4; ++i) {
    FOVEA_TRY(corners[static_cast<std::size_t>(i)], number(words, i));
  }
  const auto [top, left, bottom, right] = corners;
  if (top < 0 || left < 0 || bottom >= scene.rows || right >= scene.cols) {
    return wrong("there are no such patches");
  }
  std::vector<int> patches;
  for (int row = top; row <= bottom; ++row) {
    for (int col = left; col <= right; ++col) {
      patches.push_back(scene.ids[static_cast<std::size_t>(row * scene.cols + col)]);
    }
  }
  window_.view().paint(patches, true);
  return {};
}

Status Script::run(const QString& command, const QStringList& words, const QString& rest) {
  Viewer& viewer = window_.viewer();
  ViewState& view = viewer.view();
  Display display = view.display();
  const auto is = [&](const char* name) { return command == QLatin1String(name); };
  const QString first = words.value(0);
  if (is("size")) {
    FOVEA_TRY(const int width, number(words, 0));
    FOVEA_TRY(const int height, number(words, 1));
    window_.resize(width, height);
  } else if (is("appearance")) {
    apply_appearance(first);
  } else if (is("open")) {
    window_.open_paths({rest});
  } else if (is("model")) {
    LoadRequest request;
    request.folder = rest;
    viewer.load_model(request);
  } else if (is("prune")) {
    PruneChoice choice;
    if (first != QLatin1String("none")) choice.method = first;
    if (choice.prunes() && find_method(first.toStdString()) == nullptr) {
      return wrong(QStringLiteral("no method is called \"%1\"").arg(first));
    }
    bool counts = false;
    const double budget = words.value(1).toDouble(&counts);
    if (counts) {
      choice.budget = budget;
    } else {
      choice.preset = words.value(1);
    }
    viewer.set_prune(choice);
  } else if (is("compare")) {
    FOVEA_TRY(const bool on, on_off(words));
    const auto against = Viewer::find_against(words.value(1, QStringLiteral("unpruned")));
    if (!against) return wrong(QStringLiteral("nothing can be compared with \"%1\"").arg(words[1]));
    viewer.set_against(*against);
    viewer.set_comparing(on);
  } else if (is("tower")) {
    PruneChoice choice = viewer.prune();
    choice.tower = find_tower(first);
    if (choice.tower == PruneChoice::Tower::adaptive) {
      for (qsizetype cut = 0; cut + 1 < std::min<qsizetype>(words.size(), 4); ++cut) {
        choice.tower_thresholds[static_cast<std::size_t>(cut)] = words[cut + 1].toDouble();
      }
    } else if (words.size() > 1) {
      choice.tower_share = words[1].toDouble();
    }
    viewer.set_prune(choice);
  } else if (is("exit")) {
    PruneChoice choice = viewer.prune();
    choice.exit_threshold.reset();
    if (first != QLatin1String("never")) choice.exit_threshold = words.value(1).toDouble();
    choice.exit_by_confidence = first == QLatin1String("confidence");
    viewer.set_prune(choice);
  } else if (is("debias")) {
    PruneChoice choice = viewer.prune();
    choice.debias.reset();
    if (first != QLatin1String("off")) choice.debias = first.toDouble();
    viewer.set_prune(choice);
  } else if (is("padding")) {
    PruneChoice choice = viewer.prune();
    FOVEA_TRY(const bool on, on_off(words));
    choice.ignore_padding = !on;
    viewer.set_prune(choice);
  } else if (is("painting")) {
    FOVEA_TRY(const bool on, on_off(words));
    view.set_painting(on);
  } else if (is("paint")) {
    return paint(words);
  } else if (is("ask_painted")) {
    viewer.ask_with_painted();
  } else if (is("follow")) {
    FOVEA_TRY(const bool on, on_off(words));
    viewer.set_follow_up(on);
  } else if (is("ask")) {
    window_.ask_bar().question().setText(rest);
    viewer.ask(rest);
    if (stop_after_) stop_later();
  } else if (is("type")) {
    window_.ask_bar().question().setText(rest);
  } else if (is("run")) {
    FOVEA_TRY(const int place, number(words, 0));
    if (place < 1 || place > viewer.history().rowCount()) return wrong("there is no such answer");
    viewer.show_run(viewer.history().runs()[static_cast<std::size_t>(place - 1)]->id);
  } else if (is("word")) {
    int token = ViewState::kWholeAnswer;
    if (first != QLatin1String("all")) {
      FOVEA_TRY(token, number(words, 0));
    }
    view.select_token(token);
  } else if (is("layer") || is("head")) {
    MapChoice choice = view.choice();
    int place = 0;
    const bool mean = first == QLatin1String("mean"), max = first == QLatin1String("max");
    if (!mean && !max) {
      FOVEA_TRY(place, number(words, 0));
    }
    if (is("layer")) {
      choice.layer = mean ? MapChoice::kMeanOfLayers : place;
    } else {
      choice.heads = mean  ? HeadChoice{}
                     : max ? HeadChoice{HeadChoice::Kind::max, 0}
                           : HeadChoice{HeadChoice::Kind::one, place};
    }
    view.choose(choice);
  } else if (is("lens")) {
    view.set_lens(first == QLatin1String("kept")      ? Lens::kept
                  : first == QLatin1String("none")    ? Lens::none
                  : first == QLatin1String("encoder") ? Lens::encoder
                                                      : Lens::attention);
  } else if (is("encoder")) {
    EncoderChoice choice = view.encoder();
    choice.map = first == QLatin1String("rollout")    ? EncoderChoice::Map::rollout
                 : first == QLatin1String("received") ? EncoderChoice::Map::received
                                                      : EncoderChoice::Map::class_token;
    bool one = false;
    choice.layer = words.value(1).toInt(&one);
    if (!one) choice.layer = EncoderChoice::kMean;
    view.choose_encoder(choice);
    view.set_lens(Lens::encoder);
  } else if (is("stage")) {
    FOVEA_TRY(const int stage, number(words, 0));
    view.set_stage(stage);
  } else if (is("patch")) {
    if (first == QLatin1String("none")) {
      view.select_patch(ViewState::kNoPatch);
    } else {
      FOVEA_TRY(const int row, number(words, 0));
      FOVEA_TRY(const int col, number(words, 1));
      const OverlayScene& scene = window_.main_pane().picture_view().scene();
      if (row < 0 || row >= scene.rows || col < 0 || col >= scene.cols) {
        return wrong("there is no such patch");
      }
      view.select_patch(scene.ids[static_cast<std::size_t>(row * scene.cols + col)]);
    }
  } else if (is("colors")) {
    FOVEA_TRY(display.color_map, parse_color_map(first.toStdString()));
    view.set_display(display);
  } else if (is("range")) {
    display.range = first == QLatin1String("own")       ? Range::own
                    : first == QLatin1String("clipped") ? Range::clipped
                                                        : Range::shared;
    view.set_display(display);
  } else if (is("smooth")) {
    FOVEA_TRY(display.smooth, on_off(words));
    view.set_display(display);
  } else if (is("opacity")) {
    display.opacity = first.toDouble();
    view.set_display(display);
  } else if (is("panel")) {
    QDockWidget* dock = window_.panel(first);
    if (dock == nullptr) return wrong(QStringLiteral("no panel is called \"%1\"").arg(first));
    const bool hide = words.value(1) == QLatin1String("hide");
    dock->setVisible(!hide);
    if (!hide) dock->raise();
  } else if (is("zoom")) {
    ViewTransform& transform = window_.transform();
    if (first == QLatin1String("fit")) {
      transform.fit();
    } else if (first == QLatin1String("width")) {
      transform.fit_width();
    } else {
      window_.zoom_by(first.toDouble());
    }
  } else if (is("choose_model")) {
    window_.choose_model();
  } else if (is("keys")) {
    window_.show_keys();
  } else if (is("export")) {
    return window_.export_to(QStringLiteral("%1/%2.png").arg(folder_, words.value(1)),
                             find_exported(first).kind);
  } else if (is("shot")) {
    return shoot(rest);
  } else if (is("answer")) {
    const RunPtr& shown = view.run();
    if (!shown) return wrong("there is no answer");
    say({{"question", shown->question}, {"answer", shown->text()}});
  } else if (is("measure")) {
    say({{"at_rest_ms", at_rest_}, {"resident_bytes", resident_bytes()}});
  } else if (is("probe")) {
    FOVEA_TRY(const bool on, on_off(words));
    if (on) {
      probe_.start(window_.main_pane().picture_view());
    } else {
      print_probe();
    }
  } else if (is("stop_after")) {
    FOVEA_TRY(stop_after_, number(words, 0));
  } else {
    return wrong(QStringLiteral("there is no command \"%1\"").arg(command));
  }
  return {};
}

}  // namespace fovea::gui
