#include "gui/prune_choice.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "pruning/debias.h"
#include "pruning/methods/given_tokens.h"
#include "vision/adaptive_tower.h"
#include "vision/tome_merger.h"

namespace fovea::gui {
namespace {

struct NamedTower {
  const char* name;
  PruneChoice::Tower tower;
};
constexpr std::array<NamedTower, 5> kTowers{{
    {"whole", PruneChoice::Tower::whole},
    {"topk", PruneChoice::Tower::top_k},
    {"random", PruneChoice::Tower::random},
    {"tome", PruneChoice::Tower::merged},
    {"adaptive", PruneChoice::Tower::adaptive},
}};

/// Each cut keeps the same share of what is there, so that the last one leaves tower_share of all.
std::vector<VitCut> even_cuts(double share, int layers) {
  const std::vector<int> blocks = default_vit_cuts(layers);
  std::vector<VitCut> cuts;
  for (const int block : blocks) {
    const double part = static_cast<double>(cuts.size() + 1) / static_cast<double>(blocks.size());
    cuts.push_back({.block = block, .threshold = 0, .keep_share = std::pow(share, part)});
  }
  return cuts;
}

/// A shallow tower has no room for the last cuts.
std::vector<VitCut> threshold_cuts(std::span<const double> thresholds, int layers) {
  std::vector<VitCut> cuts;
  for (const int block : default_vit_cuts(layers)) {
    if (cuts.size() == thresholds.size()) break;
    cuts.push_back({.block = block, .threshold = static_cast<float>(thresholds[cuts.size()])});
  }
  return cuts;
}

QString tower_label(const PruneChoice& choice) {
  const QString name = QString::fromLatin1(tower_name(choice.tower));
  if (choice.tower != PruneChoice::Tower::adaptive) {
    return QStringLiteral("%1 in the tower to %2 %")
        .arg(name)
        .arg(100 * choice.tower_share, 0, 'f', 0);
  }
  QStringList thresholds;
  for (const double threshold : choice.tower_thresholds) thresholds << QString::number(threshold);
  return QStringLiteral("%1 in the tower above %2").arg(name, thresholds.join(QLatin1Char('+')));
}

}  // namespace

const char* tower_name(PruneChoice::Tower tower) {
  const auto* found = std::ranges::find(kTowers, tower, &NamedTower::tower);
  return found == kTowers.end() ? "whole" : found->name;
}

PruneChoice::Tower find_tower(const QString& name) {
  for (const NamedTower& row : kTowers) {
    if (name == QLatin1String(row.name)) return row.tower;
  }
  return PruneChoice::Tower::whole;
}

PruneChoice PruneChoice::without_debias() const {
  PruneChoice choice = *this;
  choice.debias.reset();
  choice.ignore_padding = false;
  return choice;
}

bool PruneChoice::needs_guide() const {
  return method == QLatin1String("sgl") && keep.empty();
}

PruneChoice PruneChoice::guide_alone() const {
  PruneChoice choice = *this;
  choice.exit_threshold = 0.0;
  choice.exit_by_confidence = true;  // which spares the second pass
  return choice;
}

QString PruneChoice::label() const {
  if (!prunes()) return QStringLiteral("none");
  if (!keep.empty()) return QStringLiteral("%1 patches chosen by hand").arg(keep.size());
  const QString in_tower = prunes_tower() ? tower_label(*this) : QString();
  if (method.isEmpty()) return in_tower;
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
  if (needs_guide() && exit_threshold) {
    text += QStringLiteral(":exit-threshold=%1").arg(*exit_threshold);
    if (exit_by_confidence) text += QStringLiteral(":exit-by=confidence");
  }
  return prunes_tower() ? text + QStringLiteral(", ") + in_tower : text;
}

bool takes_debias(const QString& method) {
  PruneChoice choice;
  choice.method = method;
  choice.debias = 1.0;
  return choice.prunes() && static_cast<bool>(make_policy(choice));
}

Result<MethodRequest> method_request(const PruneChoice& choice) {
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
  if (choice.needs_guide() && choice.exit_threshold) {
    request.options["exit-threshold"] = QByteArray::number(*choice.exit_threshold).toStdString();
    if (choice.exit_by_confidence) request.options["exit-by"] = "confidence";
  }
  return request;
}

Result<std::shared_ptr<Policy>> make_policy(const PruneChoice& choice) {
  if (choice.method.isEmpty() && choice.keep.empty()) return std::shared_ptr<Policy>();
  if (!choice.keep.empty()) {
    // Before the first layer: what was not chosen is never looked at.
    return std::shared_ptr<Policy>(
        std::make_shared<GivenTokens>(choice.keep, GivenTokens::Named::kept, 0));
  }
  FOVEA_TRY(const MethodRequest request, method_request(choice));
  return fovea::make_policy(request);
}

Result<std::shared_ptr<TowerPruner>> make_tower_pruner(const PruneChoice& choice,
                                                       const VitEncoder& tower) {
  const std::string name = tower_name(choice.tower);
  if (!choice.prunes_tower()) return std::shared_ptr<TowerPruner>();
  const int layers = tower.run_layers();
  if (choice.tower == PruneChoice::Tower::merged) {
    ToMeSettings settings;
    settings.keep = choice.tower_share;
    const VitConfig& config = tower.config();
    FOVEA_CHECK(tome_merges(settings, layers, config.patches(), config.prefix_tokens()));
    return tome_tower_pruner(std::move(settings), name);
  }
  VitPruneSettings settings;
  if (choice.tower == PruneChoice::Tower::adaptive) {
    settings.cuts = threshold_cuts(choice.tower_thresholds, layers);
    settings.rule = VitKeepRule::threshold;
  } else {
    settings.cuts = even_cuts(choice.tower_share, layers);
    settings.rule =
        choice.tower == PruneChoice::Tower::top_k ? VitKeepRule::top_k : VitKeepRule::random;
  }
  FOVEA_CHECK(check_vit_prune(settings, layers));
  return adaptive_tower_pruner(std::move(settings), name);
}

}  // namespace fovea::gui
