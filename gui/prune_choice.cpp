#include "gui/prune_choice.h"

namespace fovea::gui {

QString PruneChoice::label() const {
  if (!prunes()) return QStringLiteral("none");
  if (budget) return method + QStringLiteral(":budget=") + QString::number(*budget);
  return preset.isEmpty() ? method : method + QStringLiteral(":preset=") + preset;
}

Result<std::shared_ptr<Policy>> make_policy(const PruneChoice& choice) {
  if (!choice.prunes()) return std::shared_ptr<Policy>();
  MethodRequest request;
  request.name = choice.method.toStdString();
  request.schedule.preset = choice.preset.toStdString();
  request.schedule.budget = choice.budget;
  return fovea::make_policy(request);
}

}  // namespace fovea::gui
