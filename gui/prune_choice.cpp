#include "gui/prune_choice.h"

#include "pruning/debias.h"
#include "pruning/methods/given_tokens.h"

namespace fovea::gui {

PruneChoice PruneChoice::without_debias() const {
  PruneChoice choice = *this;
  choice.debias.reset();
  choice.ignore_padding = false;
  return choice;
}

QString PruneChoice::label() const {
  if (!prunes()) return QStringLiteral("none");
  if (!keep.empty()) return QStringLiteral("%1 patches chosen by hand").arg(keep.size());
  QString text = method;
  if (budget) {
    text += QStringLiteral(":budget=%1").arg(*budget);
  } else if (!preset.isEmpty()) {
    text += QStringLiteral(":preset=") + preset;
  }
  if (debias) text += QStringLiteral(":debias=%1").arg(*debias);
  if (ignore_padding) {
    text += QStringLiteral(":debias-padding=%1").arg(published_padding_theta(method.toStdString()));
  }
  return text;
}

bool takes_debias(const QString& method) {
  PruneChoice choice;
  choice.method = method;
  choice.debias = 1.0;
  return choice.prunes() && static_cast<bool>(make_policy(choice));
}

Result<std::shared_ptr<Policy>> make_policy(const PruneChoice& choice) {
  if (!choice.prunes()) return std::shared_ptr<Policy>();
  if (!choice.keep.empty()) {
    // Before the first layer: what was not chosen is never looked at.
    return std::shared_ptr<Policy>(
        std::make_shared<GivenTokens>(choice.keep, GivenTokens::Named::kept, 0));
  }
  MethodRequest request;
  request.name = choice.method.toStdString();
  request.schedule.preset = choice.preset.toStdString();
  request.schedule.budget = choice.budget;
  DebiasRequest debias;
  if (choice.debias) {
    FOVEA_TRY(debias.weights, IndexWeights::exponential(*choice.debias));
  }
  if (choice.ignore_padding) debias.padding_theta = published_padding_theta(request.name);
  FOVEA_TRY(request.adjustments, debias_adjustments(debias, request.name));
  return fovea::make_policy(request);
}

}  // namespace fovea::gui
