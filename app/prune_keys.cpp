#include "app/prune_keys.h"

#include <algorithm>
#include <array>

#include "app/text.h"

namespace fovea::app {

Error bad_value(const std::string& wanted, const std::string& value) {
  return make_error(ErrorCode::usage, format("must be %s, got %.60s", wanted.c_str(),
                                             value.empty() ? "nothing" : value.c_str()));
}

namespace {

constexpr int kMaxLayer = 9999;
constexpr double kMaxTokens = 1e6;

Status set_preset(PruneSetting& setting, const std::string& value) {
  if (value.empty()) return bad_value("the name of one of the method's presets", value);
  setting.request.schedule.preset = value;
  return {};
}

Status set_layers(PruneSetting& setting, const std::string& value) {
  std::vector<int> layers;
  for (const std::string& item : divided(value, kPruneListDividers)) {
    int layer = -1;
    if (!read_number(item, layer) || layer < 0 || layer > kMaxLayer) {
      return bad_value("layer numbers from 0 on, such as 1,3", value);
    }
    layers.push_back(layer);
  }
  setting.request.schedule.layers = std::move(layers);
  return {};
}

Status set_keep(PruneSetting& setting, const std::string& value) {
  std::vector<KeepCount> counts;
  for (const std::string& item : divided(value, kPruneListDividers)) {
    KeepCount count;
    count.is_ratio = item.find('.') != std::string::npos;
    const double most = count.is_ratio ? 1.0 : kMaxTokens;
    const bool plain = item.find_first_not_of("0123456789.") == std::string::npos;
    if (!plain || !read_number(item, count.value) || !(count.value <= most)) {
      return bad_value("counts of tokens kept, or ratios with a point, such as 200,50 or 0.35",
                       value);
    }
    counts.push_back(count);
  }
  setting.request.schedule.keep = std::move(counts);
  return {};
}

Status set_budget(PruneSetting& setting, const std::string& value) {
  double budget = 0;
  if (!read_number(value, budget) || !(budget >= 0 && budget <= kMaxTokens)) {
    return bad_value(
        "the mean number of visual tokens entering each layer, or a share of the prompt's with a "
        "point, such as 288 or 0.5",
        value);
  }
  setting.request.schedule.budget = budget;
  setting.request.schedule.budget_is_share = value.find('.') != std::string::npos && budget <= 1;
  return {};
}

Status set_positions(PruneSetting& setting, const std::string& value) {
  if (value != "original" && value != "compact") return bad_value("original or compact", value);
  setting.positions = value == "compact" ? PositionMode::compact : PositionMode::original;
  return {};
}

Status set_seed(PruneSetting& setting, const std::string& value) {
  if (!read_number(value, setting.request.seed)) {
    return bad_value("a whole number of at most 64 bits", value);
  }
  return {};
}

Status set_config(PruneSetting& setting, const std::string& value) {
  if (value.empty()) return bad_value("the path of a file", value);
  setting.request.config = value;
  return {};
}

Status set_debias(PruneSetting& setting, const std::string& value) {
  const auto weights = IndexWeights::parse(value);
  if (weights) {
    setting.debias.request.weights = *weights;
    return {};
  }
  // One message holds all there is to say: those of options have no other parts.
  const Error& error = weights.error();
  return make_error(ErrorCode::usage, "is not usable: " + error.message +
                                          (error.file.empty() ? "" : " (file " + error.file + ")") +
                                          (error.remedy.empty() ? "" : ". " + error.remedy));
}

Status set_debias_padding(PruneSetting& setting, const std::string& value) {
  setting.debias.padding_said = true;
  setting.debias.request.padding_theta.reset();
  if (value == "off") return {};
  double theta = 0;
  if (!read_number(value, theta) || !(theta >= 0 && theta < 1)) {
    return bad_value("off, or the share of a cell from 0 to below 1 that may be padding", value);
  }
  setting.debias.request.padding_theta = theta;
  return {};
}

Status set_debias_stages(PruneSetting& setting, const std::string& value) {
  if (value != "first" && value != "all") return bad_value("first or all", value);
  setting.debias.stages_said = true;
  setting.debias.request.stages = value == "all" ? AdjustedStages::all : AdjustedStages::first;
  return {};
}

/// A method of the vision tower, or nothing when the name is none. Errors: those of its choices.
Result<std::optional<MethodRequest>> read_tower_method(const std::string& written) {
  MethodRequest request;
  request.name = written.substr(0, written.find(':'));
  if (find_method(request.name) == nullptr) return std::optional<MethodRequest>();
  FOVEA_TRY(const auto policy, make_policy(request));
  if (!policy->in_vision_tower()) return std::optional<MethodRequest>();
  FOVEA_TRY(PruneSetting own, read_prune_setting(written, {}));
  if (own.positions || own.tower) {
    return make_error(ErrorCode::usage, "takes no positions and no vit-prune of its own");
  }
  return std::optional<MethodRequest>(std::move(own.request));
}

/// Inside a setting that ":" already divides, "@" divides the tower's.
Status set_vit_prune(PruneSetting& setting, const std::string& value) {
  setting.tower.reset();
  if (value == "none") return {};
  std::string written = value;
  std::replace(written.begin(), written.end(), '@', ':');
  FOVEA_TRY(auto method, read_tower_method(written));
  if (method) {
    setting.tower = TowerChoice{value, std::move(*method)};
    return {};
  }
  auto between_blocks = read_vit_prune_setting(written);
  if (!between_blocks) {
    return make_error(ErrorCode::usage, "is not usable: " + between_blocks.error().message + ". " +
                                            between_blocks.error().remedy + " (or visionzip)");
  }
  setting.tower = TowerChoice{value, std::move(*between_blocks)};
  return {};
}

constexpr std::array<PruneKey, 11> kKeys{{
    {"preset", "--prune-", "NAME",
     "Layers and counts as published, moved to this model's depth and tokens", set_preset},
    {"layers", "--prune-", "LIST", "Layers at which the method cuts, counted from 0, such as 1,3",
     set_layers},
    {"keep", "--prune-", "LIST", "Visual tokens kept at each cut: counts, or ratios such as 0.35",
     set_keep},
    {"budget", "--prune-", "N",
     "Solve the counts for a mean of N visual tokens entering each layer; 0.5 is half of each "
     "prompt's",
     set_budget},
    {"positions", "--prune-", "MODE",
     "Positions after a cut: original or compact (default: the method's own)", set_positions},
    {"seed", "--prune-", "N", "Seed of methods that draw by lot (default 0)", set_seed},
    {"config", "--prune-", "FILE",
     "Calibration file of a method that reads one: a schedule (adaptinfer), a recipe (fitprune), "
     "an "
     "exit threshold (sgl)",
     set_config},
    {"debias", "--", "WEIGHTS",
     "Take the trend by index out of the scores: sigma of exp(-sigma i/(L-1)), a FILE.json of "
     "`calibrate debias`, a FILE.npy of L weights, or published ones (fastv, gqa/himap, ...)",
     set_debias},
    {"debias-padding", "--", "SHARE",
     "Scores of cells with more padding count as 0: off, or a share of the cell (default: off, and "
     "with --debias as published for the method)",
     set_debias_padding},
    {"debias-stages", "--", "WHICH", "Debias the first cut (default) or all", set_debias_stages},
    {"vit-prune", "--", "SETTING",
     "Prune in the vision tower too: visionzip, or between its blocks adaptive, topk, random or "
     "tome, with choices as --prune takes them (adaptive:thresholds=T.json, calibrated and scaled "
     "to the number of patches, not trained; topk:keep=0.8+0.6+0.4; tome:keep=0.5)",
     set_vit_prune},
}};

}  // namespace

std::span<const PruneKey> prune_keys() {
  return kKeys;
}

const PruneKey* find_prune_key(const std::string& name) {
  const auto found = std::find_if(kKeys.begin(), kKeys.end(),
                                  [&](const PruneKey& key) { return name == key.name; });
  return found == kKeys.end() ? nullptr : &*found;
}

}  // namespace fovea::app
