#include "app/prune_report.h"

#include <algorithm>

#include "app/guide_report.h"
#include "app/text.h"
#include "pruning/methods/sgl.h"

namespace fovea::app {
namespace {

const char* positions_name(PositionMode mode) {
  return mode == PositionMode::compact ? "compact" : "original";
}

/// Layers and counts come from the setting's calibration file. (sgl's has a threshold only.)
bool has_own_schedule(const PruneSetting& setting) {
  return !setting.request.config.empty() && setting.request.name != "sgl";
}

/// The preset a setting's schedule starts from: the one named, or the method's default.
const SchedulePreset* preset_of(const PruneSetting& setting) {
  const Method* method = find_method(setting.request.name);
  if (method == nullptr || has_own_schedule(setting)) return nullptr;
  const std::string& named = setting.request.schedule.preset;
  const std::string wanted = named.empty() ? method->default_preset : named;
  const auto& presets = method->presets();
  const auto found = std::find_if(presets.begin(), presets.end(),
                                  [&](const SchedulePreset& p) { return p.name == wanted; });
  return found == presets.end() ? nullptr : &*found;
}

std::string stage_place(const StageRecord& stage) {
  switch (stage.when) {
    case Hook::embeddings:
      return "before the decoder";
    case Hook::vit_block:
      return format("in the tower's block %d", stage.layer);
    case Hook::before_layer:
      return format("before layer %d", stage.layer);
    case Hook::after_attention:
      return format("after the attention of layer %d", stage.layer);
    case Hook::after_layer:
      return format("after layer %d", stage.layer);
  }
  return "";
}

double percent(double part, double whole) {
  return whole > 0 ? 100.0 * part / whole : 100.0;
}

std::string flop_text(double flops) {
  return flops >= 1e12 ? format("%.2f TFLOP", 1e-12 * flops) : format("%.2f GFLOP", 1e-9 * flops);
}

}  // namespace

std::string schedule_source(const PruneSetting& setting) {
  if (!setting.prunes()) return "none";
  const ScheduleRequest& schedule = setting.request.schedule;
  const bool own_layers = !schedule.layers.empty(), own_counts = !schedule.keep.empty();
  std::string text = setting.request.name;
  if (!own_layers || !own_counts) {
    if (const SchedulePreset* preset = preset_of(setting)) text += " " + preset->name;
  }
  if (has_own_schedule(setting)) text += " by " + setting.request.config;
  if (own_layers || own_counts) {
    text += own_layers && own_counts ? " with layers and counts of its own"
            : own_layers             ? " with layers of its own"
                                     : " with counts of its own";
  }
  if (schedule.budget) {
    text += schedule.budget_is_share
                ? format(" solved for a mean of %g of the tokens entering a layer", *schedule.budget)
                : format(" solved for a mean of %g tokens entering a layer", *schedule.budget);
  }
  return text;
}

std::string schedule_rule(const PruneSetting& setting, int layers, std::int64_t visual) {
  const ScheduleRequest& schedule = setting.request.schedule;
  const SchedulePreset* preset = preset_of(setting);
  if (preset == nullptr) return {};
  if (setting.request.name == "sgl") return sgl_rule(setting.request, layers, visual);
  std::vector<std::string> parts;
  if (setting.choices.contains("schedule") && setting.choices.at("schedule") == "even") {
    parts.push_back("cuts after layers that divide the model into equal parts");
  } else if (preset->layers != layers && schedule.layers.empty()) {
    parts.push_back(
        format("layer l of %d becomes round(l x %d/%d), at least 1 when l was, and above the cut "
               "before it",
               preset->layers, layers, preset->layers));
  }
  if (preset->visual != visual && schedule.keep.empty()) {
    parts.push_back(format("k of %lld tokens become round(k x %lld/%lld)",
                           static_cast<long long>(preset->visual), static_cast<long long>(visual),
                           static_cast<long long>(preset->visual)));
  }
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : "; ") + part;
  return text;
}

std::string stages_text(const PruningRecord& record) {
  std::string text;
  for (const StageRecord& stage : record.stages) {
    text += (text.empty() ? "" : ", ") + stage_place(stage) +
            format(" keep %lld", static_cast<long long>(stage.tokens()));
  }
  return text.empty() ? "everything is kept" : text;
}

Json stage_json(const StageRecord& stage) {
  Json item = Json::object();
  item.set("layer", stage.layer);
  item.set("when", hook_name(stage.when));
  item.set("kept", Json::array_of(stage.kept));
  if (!stage.sources.empty()) {
    Json sources = Json::array();
    for (const auto& merged : stage.sources) sources.push(Json::array_of(merged));
    item.set("sources", std::move(sources));
  }
  if (stage.bypass) item.set("bypass", true);
  return item;
}

Json visual_tokens_json(const Answer& answer, const PruneSetting& setting, int layers) {
  Json stages = Json::array();
  for (const StageRecord& stage : answer.pruning.stages) stages.push(stage_json(stage));
  const BudgetReport& budget = answer.budget;
  Json json = Json::object();
  json.set("initial", answer.pruning.initial);
  json.set("equivalent", budget.equivalent);
  json.set("entering_mean", budget.entering_mean);
  json.set("positions", positions_name(answer.pruning.positions));
  json.set("stages", std::move(stages));
  json.set("prune", setting.name);
  json.set("schedule", schedule_source(setting));
  json.set("rule", schedule_rule(setting, layers, answer.pruning.initial));
  json.set("entering", Json::array_of(budget.entering));
  json.set("kv_bytes", budget.kv_bytes);
  json.set("kv_bytes_unpruned", budget.kv_bytes_unpruned);
  json.set("prefill_flops", budget.prefill_flops);
  json.set("prefill_flops_unpruned", budget.prefill_flops_unpruned);
  return json;
}

std::vector<std::string> budget_lines(const Answer& answer, const PruneSetting& setting,
                                      int layers) {
  const BudgetReport& budget = answer.budget;
  const auto initial = static_cast<double>(answer.pruning.initial);
  std::vector<std::string> lines;
  if (answer.guide != nullptr) lines.push_back(guide_line(answer));
  if (answer.guide != nullptr && answer.guide->exited) {
    lines.push_back("the large model did not run");
  } else if (setting.prunes()) {
    lines.push_back(schedule_source(setting) + ": " + stages_text(answer.pruning) + " (" +
                    positions_name(answer.pruning.positions) + " positions)");
    const std::string rule = schedule_rule(setting, layers, answer.pruning.initial);
    if (!rule.empty()) lines.push_back("moved to this model: " + rule);
  }
  std::string tokens =
      format("visual tokens: %lld", static_cast<long long>(answer.pruning.initial));
  if (!setting.prunes()) {
    tokens += ", all of them in every layer";
  } else {
    tokens += format(", equivalent %.1f (%.1f %%), entering a layer %.1f on average (%.1f %%)",
                     budget.equivalent, percent(budget.equivalent, initial), budget.entering_mean,
                     percent(budget.entering_mean, initial));
  }
  lines.push_back(std::move(tokens));

  const auto kv = static_cast<double>(budget.kv_bytes);
  const auto kv_unpruned = static_cast<double>(budget.kv_bytes_unpruned);
  if (setting.prunes()) {
    lines.push_back(format("keys and values %s of %s (%.1f %%), prefill %s of %s (%.1f %%)",
                           byte_text(kv).c_str(), byte_text(kv_unpruned).c_str(),
                           percent(kv, kv_unpruned), flop_text(budget.prefill_flops).c_str(),
                           flop_text(budget.prefill_flops_unpruned).c_str(),
                           percent(budget.prefill_flops, budget.prefill_flops_unpruned)));
  } else {
    lines.push_back(format("keys and values %s, prefill %s", byte_text(kv).c_str(),
                           flop_text(budget.prefill_flops).c_str()));
  }
  return lines;
}

}  // namespace fovea::app
