#include "pruning/methods/baselines.h"

#include <algorithm>

#include "pruning/draw.h"
#include "pruning/placed.h"

namespace fovea {

const std::vector<SchedulePreset>& baseline_presets() {
  static const std::vector<SchedulePreset> presets{
      {"288", 32, 576, {{0, {288}}}}, {"192", 32, 576, {{0, {192}}}},
      {"144", 32, 576, {{0, {144}}}}, {"128", 32, 576, {{0, {128}}}},
      {"64", 32, 576, {{0, {64}}}},   {"32", 32, 576, {{0, {32}}}},
  };
  return presets;
}

Result<PruningPlan> baseline_plan(const ScheduleRequest& request, const SequenceLayout& layout,
                                  const ModelShape& shape) {
  FOVEA_TRY(const auto stages,
            resolve_schedule(request, baseline_presets(), kBaselineDefaultPreset, CutSide::before,
                             shape.layers, layout.visual_count()));
  PruningPlan plan;
  plan.positions = PositionMode::original;
  for (const ScheduleStage& stage : stages) {
    plan.stages.push_back({.when = Hook::before_layer,
                           .layer = stage.layer,
                           .keep = stage.keep.tokens(layout.visual_count())});
  }
  return plan;
}

Result<PruningPlan> RandomChoice::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  return baseline_plan(request_, layout, shape);
}

Result<TensorView> RandomChoice::score(Context& context, int, StageInput& input) {
  std::vector<float> scores;
  const std::uint64_t key = draw_key(seed_, input.layout().fingerprint);
  for (const std::int32_t id : input.visual_ids()) {
    const std::uint64_t bits = drawn(key, static_cast<std::uint64_t>(id));
    scores.push_back(static_cast<float>(bits >> 40));
  }
  return placed(context, scores);
}

Result<PruningPlan> UniformChoice::make_plan(const SequenceLayout& layout,
                                             const ModelShape& shape) {
  return baseline_plan(request_, layout, shape);
}

Result<TensorView> UniformChoice::score(Context& context, int stage_index, StageInput& input) {
  const auto present = static_cast<std::int64_t>(input.visual_ids().size());
  const std::int64_t keep =
      std::min(current_plan().stages[static_cast<std::size_t>(stage_index)].keep, present);
  std::vector<float> scores(static_cast<std::size_t>(present), 0.0f);
  for (std::int64_t i = 0; i < keep; ++i) {
    scores[static_cast<std::size_t>((2 * i + 1) * present / (2 * keep))] = 1.0f;
  }
  return placed(context, scores);
}

}  // namespace fovea
