#include "gui/suggestions.h"

#include <QFile>
#include <QFileInfo>

#include "kernels/base/json.h"

namespace fovea::gui {
namespace {

constexpr qint64 kMostBytes = 1 << 20;
constexpr int kMostQuestions = 6;

}  // namespace

QStringList suggested_questions(const QString& picture_path) {
  const QFileInfo picture(picture_path);
  QStringList questions;
  QFile list(picture.absolutePath() + QStringLiteral("/samples.jsonl"));
  if (list.open(QIODevice::ReadOnly)) {
    const QList<QByteArray> lines = list.read(kMostBytes).split('\n');
    for (const QByteArray& line : lines) {
      const auto entry = parse_json(line.toStdString());
      if (!entry || !entry->is_object()) continue;
      const Json* image = entry->find("image");
      const Json* question = entry->find("question");
      if (image == nullptr || question == nullptr || !image->is_string() ||
          !question->is_string()) {
        continue;
      }
      if (picture.fileName() != QString::fromStdString(image->as_string())) continue;
      questions << QString::fromStdString(question->as_string());
      if (questions.size() == kMostQuestions) break;
    }
  }
  if (!questions.isEmpty()) return questions;
  return {QStringLiteral("Describe the picture."), QStringLiteral("What is at the center?"),
          QStringLiteral("How many things are there?")};
}

}  // namespace fovea::gui
