// fovea-gui: ask about pictures, and see where the model looked.

#include <QApplication>
#include <QCommandLineParser>
#include <QIcon>
#include <QTemporaryDir>
#include <cstdio>
#include <memory>

#include "gui/main_window.h"
#include "gui/script.h"
#include "gui/theme.h"

namespace {

using namespace fovea::gui;

constexpr int kExitUsage = 2;

int fail(const fovea::Error& error, int code) {
  std::fprintf(stderr, "fovea-gui: %s\n", error.to_string().c_str());
  return code;
}

struct Options {
  QStringList paths;
  LoadRequest model;
  bool model_is_named = false;  // on the command line
  QString screenshot, script;
};

/// Errors: usage.
fovea::Result<Options> read_options(const QApplication& app, const Settings& settings) {
  QCommandLineParser parser;
  parser.setApplicationDescription(
      QObject::tr("Ask about pictures, and see where the model looked."));
  parser.addHelpOption();
  parser.addVersionOption();
  parser.addPositionalArgument("paths", QObject::tr("Pictures and folders"), "[PATH...]");
  parser.addOptions({
      {"model", QObject::tr("Model folder (default: the one used last, or the bundled one)"),
       "DIR"},
      {"guide", QObject::tr("Folder of the small model that sgl asks first"), "DIR"},
      {"device", QObject::tr("Where to compute: auto, cpu, cuda or cuda:N"), "NAME"},
      {"dtype", QObject::tr("Weights as auto, f32, bf16 or (on a GPU) f16"), "TYPE"},
      {"threads", QObject::tr("Threads (default: every core)"), "N"},
      {"screenshot", QObject::tr("Run --script without a screen and save its pictures here"),
       "DIR"},
      {"script", QObject::tr("What to show; gui/script.h lists the commands"), "FILE"},
  });
  parser.process(app);
  Options options;
  options.paths = parser.positionalArguments();
  options.screenshot = parser.value("screenshot");
  options.script = parser.value("script");
  if (parser.isSet("screenshot") != parser.isSet("script")) {
    return fovea::make_error(fovea::ErrorCode::usage, "--screenshot and --script need each other");
  }
  options.model_is_named = parser.isSet("model");
  // What the line does not say is as it was set last; a model of the line brings its own guide.
  const auto said = [&](const char* option, const char* key) {
    const QString name = QString::fromLatin1(option);
    return parser.isSet(name) ? parser.value(name) : settings.get(key).toString();
  };
  options.model.folder = said("model", "model/folder");
  options.model.guide =
      parser.isSet("model") ? parser.value("guide") : said("guide", "model/guide");
  options.model.device = said("device", "model/device");
  FOVEA_TRY(options.model.dtype, find_dtype_choice(said("dtype", "model/dtype")));
  options.model.threads = settings.get("model/threads").toInt();
  if (parser.isSet("threads")) {
    bool valid = false;
    options.model.threads = parser.value("threads").toInt(&valid);
    if (!valid || options.model.threads < 1 || options.model.threads > 1024) {
      return fovea::make_error(fovea::ErrorCode::usage, "threads must be a number from 1 to 1024")
          .in_field("--threads");
    }
  }
  return options;
}

bool says(int argc, char** argv, std::initializer_list<const char*> options) {
  for (int i = 1; i < argc; ++i) {
    const QByteArray word(argv[i]);
    for (const char* option : options) {
      if (word == option || word.startsWith(QByteArray(option) + '=')) return true;
    }
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  // Screenshots and help need no screen, and the first neither read nor change what the user has
  // set.
  const bool scripted = says(argc, argv, {"--screenshot"});
  const bool tells = says(argc, argv, {"-h", "--help", "--help-all", "-v", "--version"});
  if ((scripted || tells) && qEnvironmentVariableIsEmpty("QT_QPA_PLATFORM")) {
    qputenv("QT_QPA_PLATFORM", "offscreen");
  }
  const QApplication app(argc, argv);
  QApplication::setApplicationName(QStringLiteral("fovea-gui"));
  QApplication::setApplicationVersion(QStringLiteral(FOVEA_VERSION));
  QApplication::setDesktopFileName(QStringLiteral("fovea-gui"));
  QApplication::setWindowIcon(QIcon(QStringLiteral(":/fovea-gui.png")));
  const QTemporaryDir own;
  Settings settings =
      scripted ? Settings(own.filePath(QStringLiteral("settings.ini"))) : Settings();
  const auto options = read_options(app, settings);
  if (!options) return fail(options.error(), kExitUsage);

  apply_appearance(scripted ? QStringLiteral("light")
                            : settings.get("window/appearance").toString());
  Viewer viewer(settings);
  MainWindow window(viewer);
  window.show();
  if (options->model_is_named) {
    viewer.load_model(options->model);
  } else {
    viewer.restore_model(options->model);
  }
  if (!options->paths.isEmpty()) {
    window.open_paths(options->paths);
  } else {
    window.restore_session();
  }
  if (!scripted) return QApplication::exec();

  Script script(window, options->screenshot);
  if (const auto loaded = script.load(options->script); !loaded) {
    return fail(loaded.error(), kExitUsage);
  }
  int code = 0;
  QObject::connect(&script, &Script::finished, &app, [&](const fovea::Status& status) {
    if (!status) code = fail(status.error(), 1);
    QApplication::quit();
  });
  script.start();
  QApplication::exec();
  return code;
}
