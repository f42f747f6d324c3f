#include "gui/export.h"

#include <QBuffer>
#include <QFile>
#include <QFileInfo>
#include <array>
#include <filesystem>

#include "kernels/base/file.h"
#include "kernels/base/json.h"
#include "kernels/base/npy.h"

namespace fovea::gui {
namespace {

std::string local(const QString& path) {
  return QFile::encodeName(path).toStdString();
}

Json sidecar(Viewer& viewer, const Run& run, const OverlayScene& scene, const QString& values) {
  const ViewState& view = viewer.view();
  Json json = Json::object();
  json.set("picture",
           run.pictures[static_cast<std::size_t>(viewer.picture_in(run))]->path().toStdString());
  json.set("question", run.question.toStdString());
  json.set("answer", run.answer.text);
  json.set("prune", run.prune.label().toStdString());
  json.set("caption", scene.caption.toStdString());
  json.set("grid", Json(Json::Array{Json(scene.rows), Json(scene.cols)}));
  Json rect = Json::object();
  rect.set("x", scene.rect.x());
  rect.set("y", scene.rect.y());
  rect.set("width", scene.rect.width());
  rect.set("height", scene.rect.height());
  json.set("rect", std::move(rect));
  if (!scene.values.empty()) {
    json.set("values", values.toStdString());
    json.set("token", view.token() == ViewState::kWholeAnswer ? Json("all") : Json(view.token()));
    json.set("layers", layer_text(view.choice(), run.model->layers).toStdString());
    json.set("heads", head_text(view.choice()).toStdString());
    Json range = Json::object();
    range.set("min", scene.low);
    range.set("max", scene.high);
    range.set("mode", scene.range_text.toStdString());
    json.set("normalisation", std::move(range));
  }
  Json stages = Json::array();
  for (const StageRecord& record : run.answer.pruning.stages) {
    Json stage = Json::object();
    stage.set("layer", record.layer);
    stage.set("when", hook_name(record.when));
    stage.set("kept", Json::array_of(record.kept));
    stages.push(std::move(stage));
  }
  json.set("stages", std::move(stages));
  Json model = Json::object();
  model.set("id", run.model->id.toStdString());
  model.set("dtype", run.model->dtype.toStdString());
  model.set("device", run.model->device.toStdString());
  json.set("model", std::move(model));
  if (run.answer.guide != nullptr) {
    const GuideReport& report = *run.answer.guide;
    Json guide = Json::object();
    guide.set("model", report.model->config().model_id);
    guide.set("answer", report.answer.text);
    guide.set("confidence", report.confidence);
    if (report.score) guide.set("score", *report.score);
    guide.set("exited", report.exited);
    json.set("guide", std::move(guide));
  }
  json.set("version", FOVEA_VERSION);
  return json;
}

Status write_all(const QString& png_path, const QImage& picture, Viewer& viewer,
                 const OverlayScene& scene, std::vector<std::string>& written) {
  QByteArray bytes;
  QBuffer buffer(&bytes);
  if (!buffer.open(QIODevice::WriteOnly) || !picture.save(&buffer, "PNG")) {
    return make_error(ErrorCode::internal, "the picture cannot be encoded as PNG");
  }
  FOVEA_CHECK(write_file_atomically(local(png_path),
                                    std::span(reinterpret_cast<const std::byte*>(bytes.constData()),
                                              static_cast<std::size_t>(bytes.size()))));
  written.push_back(local(png_path));
  const RunPtr& run = viewer.view().run();
  if (!run || run->pictures.empty()) return {};
  const QFileInfo info(png_path);
  const QString stem = info.absolutePath() + QLatin1Char('/') + info.completeBaseName();
  if (!scene.values.empty()) {
    const std::array<std::int64_t, 2> shape{scene.rows, scene.cols};
    const std::string npy = local(stem + QStringLiteral(".npy"));
    FOVEA_CHECK(write_npy(npy, shape, std::span<const float>(scene.values)));
    written.push_back(npy);
  }
  const std::string json = local(stem + QStringLiteral(".json"));
  FOVEA_CHECK(write_file_atomically(
      json, sidecar(viewer, *run, scene, info.completeBaseName() + QStringLiteral(".npy")).dump(1) +
                "\n"));
  written.push_back(json);
  return {};
}

}  // namespace

Status export_files(const QString& png_path, const QImage& picture, Viewer& viewer,
                    const OverlayScene& scene) {
  std::vector<std::string> written;
  Status status = write_all(png_path, picture, viewer, scene, written);
  if (!status) {
    std::error_code ignored;
    for (const std::string& file : written) std::filesystem::remove(file, ignored);
  }
  return status;
}

}  // namespace fovea::gui
