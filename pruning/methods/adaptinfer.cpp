#include "pruning/methods/adaptinfer.h"

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

Result<PruningPlan> AdaptInfer::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  FOVEA_CHECK(require_text(layout, "AdaptInfer"));
  FOVEA_TRY(const auto stages,
            resolve_schedule(request_, adaptinfer_presets(), kAdaptInferDefaultPreset,
                             CutSide::after, shape.layers, layout.visual_count()));
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
