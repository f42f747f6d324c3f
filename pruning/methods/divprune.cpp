#include "pruning/methods/divprune.h"

#include <algorithm>

#include "kernels/ops/similarity/similarity.h"

namespace fovea {

const std::vector<SchedulePreset>& divprune_presets() {
  static const std::vector<SchedulePreset> presets{
      {"9.8", 32, 576, {{0, {0.098, true}}}}, {"288", 32, 576, {{0, {288}}}},
      {"192", 32, 576, {{0, {192}}}},         {"144", 32, 576, {{0, {144}}}},
      {"128", 32, 576, {{0, {128}}}},         {"64", 32, 576, {{0, {64}}}},
  };
  return presets;
}

Result<PruningPlan> DivPrune::plan(const SequenceLayout& layout, const ModelShape& shape) {
  FOVEA_TRY(const auto stages,
            resolve_schedule(request_, divprune_presets(), kDivPruneDefaultPreset, CutSide::before,
                             shape.layers, layout.visual_count()));
  PruningPlan plan;
  plan.positions = PositionMode::compact;
  for (const ScheduleStage& stage : stages) {
    if (stage.layer != 0) {
      return make_error(ErrorCode::usage, "DivPrune cuts once, before the decoder")
          .in_field("--prune-layers")
          .with_remedy("Leave out --prune-layers, or name layer 0 alone");
    }
    keep_ = stage.keep.tokens(layout.visual_count());
    plan.stages.push_back({.when = Hook::embeddings, .layer = 0, .keep = keep_});
  }
  return plan;
}

Status DivPrune::select(Context& context, int, StageInput& input, Selection& selection) {
  FOVEA_TRY(const ConstTensorView states, input.visual_hidden(context));
  selection = {};
  selection.count = std::clamp<std::int64_t>(keep_, 0, states.rows());
  FOVEA_TRY(selection.sources, context.workspace.take(Shape{selection.count}, DType::i32));
  if (selection.count == 0) return {};
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView unit, context.workspace.take(states.shape, DType::f32));
  FOVEA_CHECK(normalize_rows(context, states, unit));
  return farthest_rows(context, unit, selection.sources);
}

}  // namespace fovea
