#include "pruning/methods/himap.h"

namespace fovea {

const std::vector<SchedulePreset>& himap_presets() {
  static const std::vector<SchedulePreset> presets{{"115-90", 32, 576, {{2, {115}}, {8, {90}}}}};
  return presets;
}

Result<PruningPlan> HiMap::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  FOVEA_CHECK(require_text(layout, "HiMAP"));
  FOVEA_TRY(const auto stages,
            resolve_schedule(request_, himap_presets(), kHiMapDefaultPreset, CutSide::before,
                             shape.layers, layout.visual_count()));
  PruningPlan plan;
  plan.positions = PositionMode::original;
  for (const ScheduleStage& stage : stages) {
    if (stage.layer == 0 || stages.size() > 2) {
      return make_error(
                 ErrorCode::usage,
                 "HiMAP cuts twice: by the text's attention, then by the picture's, each read "
                 "from the layer before the cut")
          .in_field("--prune-layers")
          .with_remedy("Name two layers, the first at least 1");
    }
    plan.stages.push_back({.when = Hook::before_layer,
                           .layer = stage.layer,
                           .keep = stage.keep.tokens(layout.visual_count()),
                           .attention = AttentionSource::previous_layer,
                           .rows = {plan.stages.empty() ? RowSet::text : RowSet::visual}});
  }
  return plan;
}

Result<TensorView> HiMap::score(Context& context, int stage_index, StageInput& input) {
  // Sums over causal visual rows favour early tokens, which more rows can see; the released code
  // does the same.
  return input.scores(context, {.rows = stage_index == 0 ? RowSet::text : RowSet::visual,
                                .row_reduction = Reduction::sum,
                                .head_reduction = Reduction::mean});
}

}  // namespace fovea
