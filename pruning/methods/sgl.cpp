#include "pruning/methods/sgl.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <sstream>

#include "pruning/exit_calibration_file.h"
#include "pruning/placed.h"

namespace fovea {

namespace {

/// No score exceeds 1; a little room above it says "never".
constexpr double kHighestThreshold = 100;

struct PublishedPoint {
  const char* name;
  double layer, ratio;
};
constexpr PublishedPoint kPublished[] = {{"64", 0.4, 0.4}, {"35", 0.2, 0.2}, {"9", 0.05, 0.05}};

/// The published points with the given fractions in place of their own, in layers and tokens of
/// one model: fractions are cut off, not rounded, as the released code does.
std::vector<SchedulePreset> points_for(int layers, std::int64_t visual, const SglCut& cut) {
  std::vector<SchedulePreset> presets;
  for (const PublishedPoint& point : kPublished) {
    const auto layer = static_cast<int>(layers * cut.layer.value_or(point.layer));
    const auto keep = std::floor(static_cast<double>(visual) * cut.ratio.value_or(point.ratio));
    presets.push_back({point.name, layers, visual, {{layer, {keep, false}}}});
  }
  return presets;
}

/// The number an option gives, if it was given, from 0 to `highest`.
Result<std::optional<double>> number_option(const MethodRequest& request, const char* name,
                                            double highest, const char* wanted) {
  const auto found = request.options.find(name);
  if (found == request.options.end()) return std::optional<double>();
  const std::string& text = found->second;
  double value = -1;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() ||
      !(value >= 0 && value <= highest)) {
    return make_error(ErrorCode::usage,
                      std::string("expected ") + wanted + ", found \"" + text.substr(0, 60) + "\"")
        .in_field("--" + std::string(name));
  }
  return std::optional<double>(value);
}

/// One of the choices, the first when the option was not given.
Result<std::string> choice_option(const MethodRequest& request, const char* name,
                                  std::initializer_list<const char*> choices) {
  const auto found = request.options.find(name);
  if (found == request.options.end()) return std::string(*choices.begin());
  std::string list;
  for (const char* choice : choices) {
    if (found->second == choice) return found->second;
    list += (list.empty() ? "" : ", ") + std::string(choice);
  }
  return make_error(ErrorCode::usage,
                    "expected one of " + list + ", found \"" + found->second.substr(0, 60) + "\"")
      .in_field("--" + std::string(name));
}

/// True when both tokens show the same cell of the same picture, give or take a quarter of a cell
/// (two models may round their resizing differently).
bool same_place(const VisualToken& a, const VisualToken& b) {
  const auto near = [](float x, float y, float cell) { return std::abs(x - y) <= 0.25F * cell; };
  return a.image == b.image && a.frame == b.frame && a.tile == b.tile && a.row == b.row &&
         a.col == b.col && near(a.x, b.x, b.width) && near(a.y, b.y, b.height) &&
         near(a.width, b.width, b.width) && near(a.height, b.height, b.height);
}

}  // namespace

const std::vector<SchedulePreset>& sgl_presets() {
  static const std::vector<SchedulePreset> presets = points_for(48, 576, {});
  return presets;
}

Result<SglOptions> read_sgl_options(const MethodRequest& request) {
  SglOptions options;
  const char* const fraction = "a fraction from 0 to 1";
  FOVEA_TRY(options.cut.layer, number_option(request, "guide-layer", 1, fraction));
  FOVEA_TRY(options.cut.ratio, number_option(request, "guide-ratio", 1, fraction));
  FOVEA_TRY(options.exit_threshold, number_option(request, "exit-threshold", kHighestThreshold,
                                                  "a number from 0 (always) to above 1 (never)"));
  FOVEA_TRY(const std::string rows,
            choice_option(request, "guide-rows", {"text", "from-last-visual"}));
  if (rows == "from-last-visual") options.rows = RowSet::from_last_visual;
  FOVEA_TRY(const std::string by,
            choice_option(request, "exit-by", {"score", "confidence", "random"}));
  if (by == "confidence") options.exit_by = ExitBy::confidence;
  if (by == "random") options.exit_by = ExitBy::random;
  if (!request.config.empty() && !request.options.contains("exit-by") && !options.exit_threshold) {
    FOVEA_TRY(const ExitCalibration calibration, read_exit_calibration(request.config));
    options.exit_by = calibration.exit_by;
    options.exit_threshold = calibration.threshold;
    options.guide_sha256 = calibration.guide_sha256;
  }
  return options;
}

std::string sgl_rule(const MethodRequest& request, int layers, std::int64_t visual) {
  const auto options = read_sgl_options(request);
  const ScheduleRequest& schedule = request.schedule;
  const std::string preset = schedule.preset.empty() ? kSglDefaultPreset : schedule.preset;
  const auto published = std::find_if(std::begin(kPublished), std::end(kPublished),
                                      [&](const PublishedPoint& p) { return preset == p.name; });
  if (!options || published == std::end(kPublished)) return {};
  const auto product = [](double fraction, std::int64_t count) {
    std::ostringstream text;
    text << "int(" << fraction << " x " << count << ")";
    return text.str();
  };
  std::string rule;
  if (schedule.layers.empty()) {
    rule = "before layer " + product(options->cut.layer.value_or(published->layer), layers);
  }
  if (schedule.keep.empty() && !schedule.budget) {
    rule += (rule.empty() ? "keep " : " keep ") +
            product(options->cut.ratio.value_or(published->ratio), visual);
  }
  return rule;
}

Result<std::shared_ptr<Sgl>> Sgl::make(const MethodRequest& request) {
  FOVEA_TRY(const SglOptions options, read_sgl_options(request));
  auto policy = std::make_shared<Sgl>(request.schedule, options.cut);
  for (const auto& adjustment : request.adjustments) policy->add_adjustment(adjustment);
  return policy;
}

Status Sgl::check_ranking(const SequenceLayout& layout) const {
  if (ranking_ == nullptr) {
    return make_error(ErrorCode::usage,
                      "sgl ranks visual tokens by what a small model attends to, and none is named")
        .in_field("--prune")
        .with_remedy("Name the small model with --guide DIR");
  }
  const char* const remedy =
      "Choose a guide that cuts pictures into the same grid, resized the same way";
  if (ranking_->importance.size() != layout.visual.size() ||
      ranking_->tokens.size() != layout.visual.size()) {
    return make_error(ErrorCode::usage, "the guide sees " +
                                            std::to_string(ranking_->importance.size()) +
                                            " visual tokens in this prompt, the model " +
                                            std::to_string(layout.visual.size()))
        .in_field("--guide")
        .with_remedy(remedy);
  }
  for (std::size_t id = 0; id < layout.visual.size(); ++id) {
    if (same_place(ranking_->tokens[id], layout.visual[id])) continue;
    return make_error(ErrorCode::usage, "visual token " + std::to_string(id) +
                                            " of the guide shows another part of the picture than "
                                            "the model's")
        .in_field("--guide")
        .with_remedy(remedy);
  }
  return {};
}

Result<PruningPlan> Sgl::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  FOVEA_CHECK(check_ranking(layout));
  const std::int64_t visual = layout.visual_count();
  FOVEA_TRY(const auto stages,
            resolve_schedule(request_, points_for(shape.layers, visual, cut_), kSglDefaultPreset,
                             CutSide::before, shape.layers, visual));
  PruningPlan plan;
  plan.positions = PositionMode::original;
  for (const ScheduleStage& stage : stages) {
    plan.stages.push_back(
        {.when = Hook::before_layer, .layer = stage.layer, .keep = stage.keep.tokens(visual)});
  }
  return plan;
}

Result<TensorView> Sgl::score(Context& context, int, StageInput& input) {
  std::vector<float> scores;
  for (const std::int32_t id : input.visual_ids()) {
    scores.push_back(ranking_->importance[static_cast<std::size_t>(id)]);
  }
  return placed(context, scores);
}

}  // namespace fovea
