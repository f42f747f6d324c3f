#include "pruning/schedule.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace fovea {

namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

std::vector<ScheduleStage> with_factor(const std::vector<ScheduleStage>& stages, double factor,
                                       std::int64_t visual) {
  std::vector<ScheduleStage> scaled = stages;
  for (ScheduleStage& stage : scaled) {
    const double count = std::round(static_cast<double>(stage.keep.tokens(visual)) * factor);
    stage.keep = {std::min(count, static_cast<double>(visual)), false};
  }
  return scaled;
}

std::string preset_names(const std::vector<SchedulePreset>& presets) {
  std::string names;
  for (const SchedulePreset& preset : presets) names += (names.empty() ? "" : ", ") + preset.name;
  return names;
}

Status check_stages(const std::vector<ScheduleStage>& stages, int layers, std::int64_t visual) {
  std::int64_t previous_count = 0;
  int previous_layer = -1;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const ScheduleStage& stage = stages[i];
    const std::string which = "pruning stage " + std::to_string(i + 1);
    if (stage.layer < 0 || stage.layer >= layers) {
      return make_error(ErrorCode::usage, which + " names layer " + std::to_string(stage.layer) +
                                              ", the model has layers 0 to " +
                                              std::to_string(layers - 1))
          .in_field("--prune-layers");
    }
    if (stage.layer <= previous_layer) {
      return make_error(ErrorCode::usage, which + " is at layer " + std::to_string(stage.layer) +
                                              ", not after layer " + std::to_string(previous_layer))
          .in_field("--prune-layers")
          .with_remedy("Name the layers in rising order");
    }
    const std::int64_t count = stage.keep.tokens(visual);
    // Stages may ask for more than there is: they then keep everything.
    if (i > 0 && count > previous_count) {
      return make_error(ErrorCode::usage, which + " keeps " + std::to_string(count) +
                                              " tokens, more than the " +
                                              std::to_string(previous_count) + " left before it")
          .in_field("--prune-keep")
          .with_remedy("Counts are tokens kept and must not rise");
    }
    previous_count = count;
    previous_layer = stage.layer;
  }
  return {};
}

}  // namespace

std::int64_t KeepCount::tokens(std::int64_t visual) const {
  return std::llround(is_ratio ? value * static_cast<double>(visual) : value);
}

std::vector<ScheduleStage> scale_preset(const SchedulePreset& preset, int layers,
                                        std::int64_t visual) {
  std::vector<ScheduleStage> scaled;
  int lowest = 0;
  for (const ScheduleStage& stage : preset.stages) {
    int layer =
        static_cast<int>(std::lround(static_cast<double>(stage.layer) * layers / preset.layers));
    if (stage.layer > 0) layer = std::max(layer, 1);
    layer = std::max(layer, lowest);
    if (layer >= layers) break;  // a model too shallow for the later stages
    lowest = layer + 1;
    // A ratio is one of any number of tokens.
    const double count = stage.keep.is_ratio
                             ? stage.keep.value * static_cast<double>(visual)
                             : static_cast<double>(stage.keep.tokens(preset.visual)) *
                                   static_cast<double>(visual) / static_cast<double>(preset.visual);
    scaled.push_back({layer, {std::round(count), false}});
  }
  return scaled;
}

double entering_mean(const std::vector<ScheduleStage>& stages, CutSide side, int layers,
                     std::int64_t visual, LeftByCut left) {
  double sum = 0;
  std::size_t next = 0;
  std::int64_t present = visual;
  for (int layer = 0; layer < layers; ++layer) {
    const auto cut = [&] {
      const std::int64_t keep = stages[next++].keep.tokens(visual);
      if (keep < present) present = left != nullptr ? left(present, keep) : keep;
    };
    while (side == CutSide::before && next < stages.size() && stages[next].layer == layer) cut();
    sum += static_cast<double>(present);
    while (side == CutSide::after && next < stages.size() && stages[next].layer == layer) cut();
  }
  return layers > 0 ? sum / layers : 0;
}

Result<std::vector<ScheduleStage>> solve_budget(std::vector<ScheduleStage> stages, CutSide side,
                                                int layers, std::int64_t visual, double budget,
                                                LeftByCut left) {
  const auto mean_at = [&](double factor) {
    return entering_mean(with_factor(stages, factor, visual), side, layers, visual, left);
  };
  const double lowest = mean_at(0);
  if (!(budget >= lowest) || budget > static_cast<double>(visual)) {
    return make_error(ErrorCode::usage, "a mean of " + number(budget) +
                                            " visual tokens entering each layer is out of reach: " +
                                            "with cuts at this method's layers it lies between " +
                                            number(lowest) + " and " + std::to_string(visual))
        .in_field("--prune-budget")
        .with_remedy(
            "Choose another budget, a share of each prompt's tokens such as 0.5, or earlier layers "
            "with --prune-layers");
  }
  double low = 0, high = 1;
  while (mean_at(high) < budget && high < 1e6) high *= 2;
  for (int step = 0; step < 60; ++step) {
    const double middle = 0.5 * (low + high);
    (mean_at(middle) < budget ? low : high) = middle;
  }
  const bool low_is_nearer = budget - mean_at(low) < mean_at(high) - budget;
  return with_factor(stages, low_is_nearer ? low : high, visual);
}

Result<std::vector<ScheduleStage>> resolve_schedule(const ScheduleRequest& request,
                                                    const std::vector<SchedulePreset>& presets,
                                                    const std::string& default_preset, CutSide side,
                                                    int layers, std::int64_t visual,
                                                    LeftByCut left) {
  const std::string& wanted = request.preset.empty() ? default_preset : request.preset;
  const auto preset = std::find_if(presets.begin(), presets.end(),
                                   [&](const SchedulePreset& p) { return p.name == wanted; });
  if (preset == presets.end()) {
    return make_error(ErrorCode::usage, "this pruning method has no preset \"" + wanted + "\"")
        .in_field("--prune-preset")
        .with_remedy("It has: " + preset_names(presets));
  }
  std::vector<ScheduleStage> stages = scale_preset(*preset, layers, visual);
  const bool moved = preset->layers != layers;
  if (stages.empty() && moved && !preset->stages.empty() && request.layers.empty()) {
    return make_error(ErrorCode::usage, "a model of " + std::to_string(layers) +
                                            " layers is too shallow for the cuts of preset \"" +
                                            wanted + "\"")
        .in_field("--prune-preset")
        .with_remedy("Name layers and counts with --prune-layers and --prune-keep");
  }
  return apply_request(request, std::move(stages), "the preset", side, layers, visual, left);
}

Result<std::vector<ScheduleStage>> apply_request(const ScheduleRequest& request,
                                                 std::vector<ScheduleStage> stages,
                                                 const std::string& source, CutSide side,
                                                 int layers, std::int64_t visual, LeftByCut left) {
  if (!request.layers.empty() || !request.keep.empty()) {
    std::vector<int> stage_layers = request.layers;
    if (stage_layers.empty()) {
      for (const ScheduleStage& stage : stages) stage_layers.push_back(stage.layer);
    }
    if (!request.keep.empty() && request.keep.size() != stage_layers.size()) {
      return make_error(ErrorCode::usage, std::to_string(request.keep.size()) +
                                              " counts were given for " +
                                              std::to_string(stage_layers.size()) + " layers")
          .in_field("--prune-keep")
          .with_remedy("Give one count for each layer of --prune-layers");
    }
    if (request.keep.empty() && stage_layers.size() != stages.size()) {
      return make_error(ErrorCode::usage, "layers were given without counts, and " + source +
                                              " has " + std::to_string(stages.size()) +
                                              " stages, not " + std::to_string(stage_layers.size()))
          .in_field("--prune-layers")
          .with_remedy("Add --prune-keep");
    }
    std::vector<ScheduleStage> own;
    for (std::size_t i = 0; i < stage_layers.size(); ++i) {
      own.push_back({stage_layers[i], request.keep.empty() ? stages[i].keep : request.keep[i]});
    }
    stages = std::move(own);
  }
  FOVEA_CHECK(check_stages(stages, layers, visual));
  if (request.budget) {
    FOVEA_TRY(stages, solve_budget(std::move(stages), side, layers, visual,
                                   request.budget_tokens(visual), left));
  }
  std::int64_t present = visual;
  std::vector<ScheduleStage> effective;
  for (const ScheduleStage& stage : stages) {
    const std::int64_t count = std::max<std::int64_t>(stage.keep.tokens(visual), 0);
    if (count >= present) continue;
    effective.push_back({stage.layer, {static_cast<double>(count), false}});
    present = left != nullptr ? left(present, count) : count;
  }
  return effective;
}

}  // namespace fovea
