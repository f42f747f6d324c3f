#pragma once
// A viewer with settings of its own, and waiting for what comes by signal.

#include <gtest/gtest.h>

#include <QDir>
#include <QFile>
#include <QJsonDocument>
#include <QTemporaryDir>
#include <QTest>
#include <algorithm>

#include "gui/viewer.h"

namespace fovea::gui {

constexpr int kPatience = 120'000;  // ms; machines that run tests are busy

inline QString asset(const QString& name) {
  return QStringLiteral(FOVEA_SOURCE_DIR "/assets/") + name;
}

/// A question that comes with the bundled samples, and what the bundled model answers.
struct Sample {
  QString image, question, answer;
  qsizetype words() const { return answer.count(QLatin1Char(' ')) + 1; }
};

inline const std::vector<Sample>& samples() {
  static const std::vector<Sample> all = [] {
    std::vector<Sample> read;
    QFile file(asset(QStringLiteral("samples/samples.jsonl")));
    EXPECT_TRUE(file.open(QIODevice::ReadOnly));
    while (!file.atEnd()) {
      const QJsonDocument line = QJsonDocument::fromJson(file.readLine());
      read.push_back({line[QStringLiteral("image")].toString(),
                      line[QStringLiteral("question")].toString(),
                      line[QStringLiteral("answer")].toString()});
    }
    return read;
  }();
  return all;
}

/// The longest answer there is: long enough to be stopped in the middle.
inline const Sample& long_sample() {
  return *std::max_element(samples().begin(), samples().end(), [](const auto& a, const auto& b) {
    return a.answer.size() < b.answer.size();
  });
}

/// About the same picture, a question with an answer of two words, or as near to that as there is.
inline const Sample& short_sample() {
  const auto distance = [](const Sample& sample) {
    const bool other_picture = sample.image != long_sample().image;
    return std::pair(other_picture, std::abs(sample.words() - 2));
  };
  return *std::min_element(
      samples().begin(), samples().end(),
      [&](const Sample& a, const Sample& b) { return distance(a) < distance(b); });
}

/// About the same picture, any other question.
inline const Sample& other_sample() {
  return *std::find_if(samples().rbegin(), samples().rend(), [](const Sample& sample) {
    return sample.image == long_sample().image && sample.question != long_sample().question &&
           sample.question != short_sample().question;
  });
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

  /// The bundled model and the picture that the samples above are about.
  void open() {
    viewer_->load_model({.folder = asset(QStringLiteral("models/fovea-base"))});
    viewer_->pictures().open({asset(QStringLiteral("samples/") + long_sample().image)});
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

  /// The answer to the long question, stopped in its middle: `stop` runs at its first piece. On a
  /// busy machine the answer may be complete before this thread hears of that; then once more.
  RunPtr ask_and_stop(const std::function<RunPtr()>& ask_long, const std::function<void()>& stop) {
    RunPtr run;
    for (int attempt = 0; attempt < 20; ++attempt) {
      bool stopped = false;
      const auto connection = QObject::connect(&viewer_->inference(), &Inference::piece,
                                               viewer_.get(), [&] {
                                                 if (!stopped) stop();
                                                 stopped = true;
                                               });
      run = ask_long();
      QObject::disconnect(connection);
      if (run && run->answer.finish_reason == FinishReason::cancelled) break;
    }
    return run;
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
