#include "pruning/methods/fitprune.h"

#include "kernels/ops/ratings/ratings.h"

namespace fovea {

const std::vector<SchedulePreset>& fitprune_presets() {
  static const std::vector<SchedulePreset> presets;
  return presets;
}

Result<std::shared_ptr<FitPrune>> FitPrune::make(const MethodRequest& request) {
  std::shared_ptr<const FitPruneRecipe> recipe;
  if (!request.config.empty()) {
    FOVEA_TRY(FitPruneRecipe read, read_fitprune_recipe(request.config));
    recipe = std::make_shared<const FitPruneRecipe>(std::move(read));
  }
  auto policy = std::make_shared<FitPrune>(request.schedule, std::move(recipe));
  for (const auto& adjustment : request.adjustments) policy->add_adjustment(adjustment);
  return policy;
}

Result<PruningPlan> FitPrune::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  FOVEA_CHECK(require_text(layout, "FitPrune"));
  if (!request_.preset.empty()) {
    return make_error(ErrorCode::usage, "FitPrune has no presets: a recipe belongs to one model")
        .in_field("--prune-preset")
        .with_remedy("Name a recipe with --prune-config FILE");
  }
  const bool own = !request_.layers.empty() && !request_.keep.empty();
  if (recipe_ == nullptr && !own) {
    return make_error(ErrorCode::usage, "FitPrune needs a recipe, fitted to the model")
        .in_field("--prune-config")
        .with_remedy(
            "Name one with --prune-config FILE, or layers and counts with --prune-layers and "
            "--prune-keep");
  }
  const std::int64_t visual = layout.visual_count();
  std::vector<ScheduleStage> stages;
  if (recipe_ != nullptr) {
    FOVEA_TRY(stages, recipe_stages(*recipe_, shape.layers, visual));
  }
  FOVEA_TRY(stages, apply_request(request_, std::move(stages), "the recipe", CutSide::after,
                                  shape.layers, visual));
  PruningPlan plan;
  plan.positions = PositionMode::original;
  for (const ScheduleStage& stage : stages) {
    plan.stages.push_back({.when = Hook::after_attention,
                           .layer = stage.layer,
                           .keep = stage.keep.tokens(visual),
                           .attention = AttentionSource::this_layer,
                           .rows = {RowSet::text, RowSet::visual}});
  }
  return plan;
}

Result<TensorView> FitPrune::score(Context& context, int, StageInput& input) {
  const auto looked_at = [&](RowSet rows) {
    return input.scores(
        context,
        {.rows = rows, .row_reduction = Reduction::mean, .head_reduction = Reduction::max});
  };
  FOVEA_TRY(const TensorView cross, looked_at(RowSet::text));
  FOVEA_TRY(const TensorView self, looked_at(RowSet::visual));
  FOVEA_CHECK(multiply_scores(context, cross, self));
  return cross;
}

}  // namespace fovea
