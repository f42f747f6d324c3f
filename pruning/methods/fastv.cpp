#include "pruning/methods/fastv.h"

namespace fovea {

const std::vector<SchedulePreset>& fastv_presets() {
  static const std::vector<SchedulePreset> presets{
      {"50", 32, 576, {{2, {0.5, true}}}},
      {"75", 32, 576, {{2, {0.25, true}}}},
      {"90", 32, 576, {{2, {0.1, true}}}},
      {"128", 32, 576, {{2, {128}}}},
  };
  return presets;
}

Result<PruningPlan> FastV::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  FOVEA_TRY(const auto stages,
            resolve_schedule(request_, fastv_presets(), kFastVDefaultPreset, CutSide::before,
                             shape.layers, layout.visual_count()));
  PruningPlan plan;
  plan.positions = PositionMode::original;
  for (const ScheduleStage& stage : stages) {
    if (stage.layer == 0) {
      return make_error(ErrorCode::usage,
                        "FastV reads the attention of the layer before its cut, and no layer "
                        "precedes layer 0")
          .in_field("--prune-layers")
          .with_remedy("Cut before layer 1 or later");
    }
    plan.stages.push_back({.when = Hook::before_layer,
                           .layer = stage.layer,
                           .keep = stage.keep.tokens(layout.visual_count()),
                           .attention = AttentionSource::previous_layer,
                           .rows = {RowSet::last}});
  }
  return plan;
}

Result<TensorView> FastV::score(Context& context, int, StageInput& input) {
  return input.scores(context, {.rows = RowSet::last, .head_reduction = Reduction::mean});
}

}  // namespace fovea
