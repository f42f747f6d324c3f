#include "pruning/methods/adaptinfer.h"

#include <algorithm>

#include "kernels/ops/reduce/reduce.h"

namespace fovea {

const std::vector<SchedulePreset>& adaptinfer_presets() {
  static const std::vector<SchedulePreset> presets{
      {"128", 32, 576, {{1, {290}}, {10, {72}}, {20, {18}}}},
      {"64", 32, 576, {{1, {133}}, {10, {27}}, {20, {3}}}},
      {"48", 32, 576, {{1, {80}}, {10, {24}}, {20, {2}}}},
      {"32", 32, 576, {{1, {40}}, {10, {12}}, {20, {0}}}},
      {"128-13b", 40, 576, {{1, {300}}, {10, {94}}, {20, {30}}}},
      {"64-13b", 40, 576, {{1, {148}}, {10, {40}}, {20, {5}}}},
  };
  return presets;
}

namespace {

/// Layers that end equal parts of the model, one part more than there are cuts.
std::vector<int> even_layers(int layers, std::size_t cuts) {
  std::vector<int> even;
  for (std::size_t i = 1; i <= cuts; ++i) {
    even.push_back(static_cast<int>(i * static_cast<std::size_t>(layers) / (cuts + 1)) - 1);
  }
  return even;
}

std::string option_of(const MethodRequest& request, const char* name) {
  const auto found = request.options.find(name);
  return found == request.options.end() ? "" : found->second;
}

}  // namespace

Result<std::shared_ptr<AdaptInfer>> AdaptInfer::make(const MethodRequest& request) {
  std::shared_ptr<const ScheduleCalibration> schedule;
  if (!request.config.empty()) {
    FOVEA_TRY(ScheduleCalibration read, read_schedule_calibration(request.config));
    schedule = std::make_shared<const ScheduleCalibration>(std::move(read));
  }
  const std::string weighting = option_of(request, "weighting");
  auto policy = std::make_shared<AdaptInfer>(
      request.schedule,
      weighting == "uniform"    ? TextWeighting::uniform
      : weighting == "last_row" ? TextWeighting::last_row
                                : TextWeighting::text_prior,
      option_of(request, "schedule") == "even" ? CutLayers::even : CutLayers::calibrated,
      std::move(schedule));
  for (const auto& adjustment : request.adjustments) policy->add_adjustment(adjustment);
  return policy;
}

Result<std::vector<ScheduleStage>> AdaptInfer::stages(int layers, std::int64_t visual) const {
  ScheduleRequest request = request_;
  if (schedule_ != nullptr && !request.preset.empty()) {
    return make_error(ErrorCode::usage, "a preset and a calibrated schedule were both named")
        .in_field("--prune-preset")
        .with_remedy("Leave out --prune-preset or --prune-config");
  }
  if (cuts_ == CutLayers::even) {
    if (!request.layers.empty()) {
      return make_error(ErrorCode::usage, "layers were named beside an even schedule")
          .in_field("--prune-layers")
          .with_remedy("Leave out --prune-layers or schedule=even");
    }
    std::size_t cuts = request.keep.size();
    if (cuts == 0 && schedule_ != nullptr) cuts = schedule_->stages.size();
    if (cuts == 0) {
      const auto& presets = adaptinfer_presets();
      const auto preset = std::find_if(presets.begin(), presets.end(), [&](const auto& known) {
        return known.name == (request.preset.empty() ? kAdaptInferDefaultPreset : request.preset);
      });
      if (preset != presets.end()) cuts = scale_preset(*preset, layers, visual).size();
    }
    request.layers = even_layers(layers, cuts);
    if (!request.layers.empty() && request.layers.front() < 0) {
      return make_error(ErrorCode::usage, "a model of " + std::to_string(layers) +
                                              " layers is too shallow for " + std::to_string(cuts) +
                                              " cuts at even distances")
          .in_field("--prune-keep");
    }
  }
  if (schedule_ == nullptr) {
    return resolve_schedule(request, adaptinfer_presets(), kAdaptInferDefaultPreset, CutSide::after,
                            layers, visual);
  }
  FOVEA_TRY(auto own, calibrated_stages(*schedule_, layers, visual));
  return apply_request(request, std::move(own), "the schedule", CutSide::after, layers, visual);
}

Result<PruningPlan> AdaptInfer::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  FOVEA_CHECK(require_text(layout, "AdaptInfer"));
  FOVEA_TRY(const auto stages, this->stages(shape.layers, layout.visual_count()));
  PruningPlan plan;
  plan.positions = PositionMode::compact;  // what the released LLaVA code does
  for (const ScheduleStage& stage : stages) {
    plan.stages.push_back(
        {.when = Hook::after_layer,
         .layer = stage.layer,
         .keep = stage.keep.tokens(layout.visual_count()),
         .attention = AttentionSource::this_layer,
         .rows = {weighting_ == TextWeighting::last_row ? RowSet::last : RowSet::text}});
  }
  return plan;
}

Result<TensorView> AdaptInfer::score(Context& context, int, StageInput& input) {
  ScoreRequest vision;
  vision.rows = RowSet::text;
  vision.columns = ColumnSet::visual;
  if (weighting_ == TextWeighting::last_row) vision.rows = RowSet::last;
  if (weighting_ == TextWeighting::text_prior) {
    FOVEA_TRY(const ConstTensorView tile,
              input.scores(context, {.rows = RowSet::text,
                                     .columns = ColumnSet::text,
                                     .row_reduction = Reduction::none,
                                     .head_reduction = Reduction::none}));
    FOVEA_TRY(const TensorView weights,
              context.workspace.take(Shape{tile.shape[0], tile.shape[1]}, DType::f32));
    FOVEA_CHECK(affinity_sums(context, tile, weights));
    vision.row_weights = weights;
  }
  return input.scores(context, vision);
}

}  // namespace fovea
