#include "pruning/methods/divprune.h"

#include <algorithm>
#include <limits>

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

namespace {

/// The row that is least like the one most like it.
Result<std::int64_t> first_pick(Context& context, ConstTensorView unit) {
  constexpr std::int64_t kTile = 64;  // rows compared with all others at a time
  const std::int64_t n = unit.rows();
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView tile, context.workspace.take(Shape{kTile, n}, DType::f32));
  std::int64_t best = 0;
  float best_cosine = std::numeric_limits<float>::infinity();
  for (std::int64_t begin = 0; begin < n; begin += kTile) {
    const std::int64_t count = std::min(kTile, n - begin);
    FOVEA_CHECK(row_products(context, unit.slice(begin, count), unit, tile.slice(0, count)));
    for (std::int64_t i = 0; i < count; ++i) {
      float* cosines = tile.row<float>(i);
      cosines[begin + i] = -std::numeric_limits<float>::infinity();  // not itself
      const float nearest = *std::max_element(cosines, cosines + n);
      if (nearest < best_cosine) {
        best_cosine = nearest;
        best = begin + i;
      }
    }
  }
  return best;
}

}  // namespace

Result<std::vector<std::int32_t>> choose_diverse(Context& context, ConstTensorView x,
                                                 std::int64_t k) {
  const std::int64_t n = x.rows();
  std::vector<std::int32_t> chosen;
  if (k <= 0 || n == 0) return chosen;
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView unit, context.workspace.take(x.shape, DType::f32));
  FOVEA_CHECK(normalize_rows(context, x, unit));
  FOVEA_TRY(const TensorView cosines, context.workspace.take(Shape{1, n}, DType::f32));

  // Per row: its largest cosine with a chosen row; infinite once it is chosen itself.
  std::vector<float> nearest(static_cast<std::size_t>(n), -std::numeric_limits<float>::infinity());
  FOVEA_TRY(std::int64_t next, first_pick(context, unit));
  while (true) {
    chosen.push_back(static_cast<std::int32_t>(next));
    if (static_cast<std::int64_t>(chosen.size()) == std::min(k, n)) break;
    FOVEA_CHECK(row_products(context, unit.slice(next, 1), unit, cosines));
    nearest[static_cast<std::size_t>(next)] = std::numeric_limits<float>::infinity();
    for (std::size_t i = 0; i < nearest.size(); ++i) {
      nearest[i] = std::max(nearest[i], cosines.as<float>()[i]);
    }
    next = std::min_element(nearest.begin(), nearest.end()) - nearest.begin();
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
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
  FOVEA_TRY(const std::vector<std::int32_t> chosen, choose_diverse(context, states, keep_));
  selection = {};
  selection.count = static_cast<std::int64_t>(chosen.size());
  FOVEA_TRY(selection.sources, context.workspace.take(Shape{selection.count}, DType::i32));
  std::copy(chosen.begin(), chosen.end(), selection.sources.as<std::int32_t>());
  return {};
}

}  // namespace fovea
