#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/weights/weight_reader.h"
#include "vision/adaptive_vit.h"
#include "vision/config_fields.h"

namespace fovea {

namespace {

constexpr const char* kStateNames[] = {"last", "accu", "ema"};  // in the order of VitScoreState
constexpr int kMaxCuts = 256;

/// A list of numbers; empty where the field is absent.
Result<std::vector<double>> number_list(const ConfigFields& fields, const char* name) {
  const Json* list = fields.find(name);
  const auto sensible = [](const Json& item) {
    return item.is_number() && std::isfinite(item.as_double());
  };
  if (list == nullptr || !list->is_array() || list->as_array().empty() ||
      std::ssize(list->as_array()) > kMaxCuts || !std::ranges::all_of(list->as_array(), sensible)) {
    return fields.error(name, "expected a list of numbers, one for each cut", ErrorCode::bad_input);
  }
  std::vector<double> numbers;
  for (const Json& item : list->as_array()) numbers.push_back(item.as_double());
  return numbers;
}

}  // namespace

const char* vit_score_state_name(VitScoreState state) {
  return kStateNames[static_cast<int>(state)];
}

std::optional<VitScoreState> find_vit_score_state(const std::string& name) {
  const auto* found = std::ranges::find(kStateNames, name);
  if (found == std::end(kStateNames)) return std::nullopt;
  return static_cast<VitScoreState>(found - std::begin(kStateNames));
}

VitPruneSettings VitThresholds::settings_for(std::int64_t run_patches) const {
  const double factor = patches > 0 && run_patches > 0
                            ? static_cast<double>(patches) / static_cast<double>(run_patches)
                            : 1.0;
  VitPruneSettings settings;
  settings.state = state;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    settings.cuts.push_back(
        {.block = blocks[i], .threshold = static_cast<float>(thresholds[i] * factor)});
  }
  return settings;
}

Json VitThresholds::to_json() const {
  Json json = Json::object();
  json.set("method", "adaptive");
  json.set("blocks", Json::array_of(blocks));
  json.set("thresholds", Json::array_of(thresholds));
  json.set("score", vit_score_state_name(state));
  json.set("patches", patches);
  json.set("origin", origin);
  return json;
}

Result<VitThresholds> parse_vit_thresholds(const Json& json, const std::string& file) {
  if (!json.is_object()) {
    return make_error(ErrorCode::bad_input, "expected a JSON object").in_file(file);
  }
  const ConfigFields fields(json, file);
  const auto as_input = [](Error error) {
    error.code = ErrorCode::bad_input;
    return error;
  };
  auto method = fields.text("method", "adaptive");
  if (!method) return as_input(method.error());
  if (*method != "adaptive") {
    return fields.error("method", "expected adaptive, found '" + method->substr(0, 60) + "'",
                        ErrorCode::bad_input);
  }
  VitThresholds read;
  FOVEA_TRY(const std::vector<double> blocks, number_list(fields, "blocks"));
  FOVEA_TRY(read.thresholds, number_list(fields, "thresholds"));
  if (blocks.size() != read.thresholds.size()) {
    return fields.error("thresholds",
                        std::to_string(read.thresholds.size()) + " thresholds for " +
                            std::to_string(blocks.size()) + " blocks",
                        ErrorCode::bad_input);
  }
  for (const double block : blocks) {
    if (block != std::floor(block) || block < 0 || block > kMaxCuts) {
      return fields.error("blocks", "expected numbers of blocks, counted from 0",
                          ErrorCode::bad_input);
    }
    read.blocks.push_back(static_cast<int>(block));
  }
  auto state = fields.text("score", "last");
  if (!state) return as_input(state.error());
  const auto known = find_vit_score_state(*state);
  if (!known) {
    return fields.error("score", "expected last, accu or ema, found '" + state->substr(0, 60) + "'",
                        ErrorCode::bad_input);
  }
  read.state = *known;
  auto patches = fields.integer("patches", 0, 0, 1 << 24);
  if (!patches) return as_input(patches.error());
  read.patches = *patches;
  auto origin = fields.text("origin", "file");
  if (!origin) return as_input(origin.error());
  read.origin = *origin;
  return read;
}

Result<std::optional<VitThresholds>> checkpoint_vit_thresholds(const WeightFiles& files,
                                                               const VitConfig& config,
                                                               std::vector<int> blocks) {
  std::set<std::string> used;
  const WeightReader reader(files, used);
  VitThresholds found;
  const auto name_of = [](std::size_t index) {
    return "score_predictor." + std::to_string(index) + ".keep_threshold";
  };
  while (files.contains(name_of(found.thresholds.size()))) {
    const std::string name = name_of(found.thresholds.size());
    FOVEA_TRY(const Tensor value, reader.get_f32(name, Shape{}));
    if (!std::isfinite(value.as<float>()[0])) {
      return make_error(ErrorCode::bad_model, "the threshold is no finite number")
          .in_file(files.file_of(name))
          .in_field(name);
    }
    found.thresholds.push_back(value.as<float>()[0]);
  }
  if (found.thresholds.empty()) return std::optional<VitThresholds>();
  if (blocks.empty()) blocks = default_vit_cuts(static_cast<int>(config.layers));
  if (blocks.size() != found.thresholds.size()) {
    return make_error(ErrorCode::bad_model,
                      "the checkpoint has " + std::to_string(found.thresholds.size()) +
                          " thresholds for " + std::to_string(blocks.size()) + " cuts")
        .in_file(files.file_of(name_of(0)))
        .in_field("score_predictor")
        .with_remedy("Name the blocks before which it was trained to cut");
  }
  found.blocks = std::move(blocks);
  found.patches = config.stored_grid() * config.stored_grid();
  found.origin = "checkpoint";
  return std::optional<VitThresholds>(std::move(found));
}

}  // namespace fovea
