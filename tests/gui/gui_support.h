#pragma once
// A viewer with settings of its own, and waiting for what comes by signal.

#include <gtest/gtest.h>

#include <QDir>
#include <QFile>
#include <QTemporaryDir>
#include <QTest>

#include "gui/viewer.h"

namespace fovea::gui {

constexpr int kPatience = 120'000;  // ms; machines that run tests are busy

inline QString asset(const QString& name) {
  return QStringLiteral(FOVEA_SOURCE_DIR "/assets/") + name;
}

inline QImage plain_picture(int width, int height, QColor color = Qt::darkGreen) {
  QImage image(width, height, QImage::Format_RGB888);
  image.fill(color);
  return image;
}

/// Folder, settings and viewer of one test.
class ViewerTest : public ::testing::Test {
 protected:
  ViewerTest()
      : settings_(folder_.filePath(QStringLiteral("settings.ini"))),
        viewer_(std::make_unique<Viewer>(settings_)) {
    QObject::connect(viewer_.get(), &Viewer::notice, viewer_.get(),
                     [this](const Error& error) { notices_.push_back(error); });
  }

  bool wait(const std::function<bool()>& until) { return QTest::qWaitFor(until, kPatience); }
  bool wait_idle() {
    return wait([this] { return !viewer_->busy() && !viewer_->inference().loading(); });
  }
  bool wait_maps() {
    return wait([this] { return viewer_->maps().idle(); });
  }

  /// The bundled model and one of the samples.
  void open(const QString& sample = QStringLiteral("park.png")) {
    viewer_->load_model({.folder = asset(QStringLiteral("models/fovea-base"))});
    viewer_->pictures().open({asset(QStringLiteral("samples/") + sample)});
    ASSERT_TRUE(wait_idle());
    ASSERT_TRUE(viewer_->inference().model()) << "the bundled model did not load";
    ASSERT_TRUE(wait([this] { return viewer_->pictures().current() != nullptr; }));
  }

  RunPtr ask(const QString& question) {
    viewer_->ask(question);
    EXPECT_TRUE(wait_idle());
    EXPECT_TRUE(wait_maps());
    return viewer_->view().run();
  }

  QString write(const QString& name, const QByteArray& bytes) {
    QFile file(folder_.filePath(name));
    EXPECT_TRUE(file.open(QIODevice::WriteOnly));
    file.write(bytes);
    return file.fileName();
  }
  QString write_picture(const QString& name, int width = 40, int height = 30) {
    const QString path = folder_.filePath(name);
    EXPECT_TRUE(plain_picture(width, height).save(path));
    return path;
  }

  QTemporaryDir folder_;
  Settings settings_;
  std::unique_ptr<Viewer> viewer_;
  std::vector<Error> notices_;
};

}  // namespace fovea::gui
