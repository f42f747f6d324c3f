#include "pruning/scoring_policy.h"

#include <algorithm>

#include "kernels/copy.h"
#include "kernels/ops/cut/cut.h"
#include "kernels/ops/reduce/reduce.h"

namespace fovea {

Result<std::int64_t> FactorAdjustment::adjust(int stage_index, const StageInput& input,
                                              std::span<float> scores) const {
  FOVEA_TRY(const Factors found, factors(stage_index, input));
  if (!found.factors.empty()) {
    Context host;
    const TensorView view(reinterpret_cast<std::byte*>(scores.data()), DType::f32,
                          Shape{static_cast<std::int64_t>(scores.size())});
    FOVEA_CHECK(scale_scores(host, view, found.factors));
  }
  return found.allowed;
}

namespace {

/// Lets an adjustment that looks at scores do so on the host.
Result<std::int64_t> adjust_there(Context& context, const ScoreAdjustment& adjustment,
                                  int stage_index, const StageInput& input, TensorView scores) {
  std::vector<float> values(static_cast<std::size_t>(scores.shape[0]));
  const TensorView here(reinterpret_cast<std::byte*>(values.data()), DType::f32, scores.shape);
  FOVEA_CHECK(copy(context, scores, here));
  FOVEA_TRY(const std::int64_t allowed, adjustment.adjust(stage_index, input, values));
  FOVEA_CHECK(copy(context, here, scores));
  return allowed;
}

}  // namespace

Result<PruningPlan> ScoringPolicy::plan(const SequenceLayout& layout, const ModelShape& shape) {
  plan_ = {};
  if (layout.visual_count() == 0) return plan_;
  FOVEA_TRY(plan_, make_plan(layout, shape));
  return plan_;
}

Status ScoringPolicy::select(Context& context, int stage_index, StageInput& input,
                             Selection& selection) {
  const Stage& stage = plan_.stages[static_cast<std::size_t>(stage_index)];
  const auto present = static_cast<std::int64_t>(input.visual_ids().size());
  if (stage.keep <= 0 || present == 0) return select_best(context, {}, 0, selection);
  FOVEA_TRY(const TensorView scores, score(context, stage_index, input));
  std::int64_t keep = std::min(stage.keep, present);
  for (const auto& adjustment : adjustments_) {
    std::int64_t allowed = present;
    if (!context.on_cuda()) {
      const std::span<float> values(scores.as<float>(), static_cast<std::size_t>(present));
      FOVEA_TRY(allowed, adjustment->adjust(stage_index, input, values));
    } else if (const FactorAdjustment* by_factors = adjustment->by_factors()) {
      FOVEA_TRY(const auto found, by_factors->factors(stage_index, input));
      if (!found.factors.empty()) FOVEA_CHECK(scale_scores(context, scores, found.factors));
      allowed = found.allowed;
    } else {
      FOVEA_TRY(allowed, adjust_there(context, *adjustment, stage_index, input, scores));
    }
    keep = std::min(keep, allowed);
  }
  return cut(context, stage_index, input, scores, keep, selection);
}

Status ScoringPolicy::cut(Context& context, int, StageInput&, ConstTensorView scores,
                          std::int64_t keep, Selection& selection) {
  return select_best(context, scores, keep, selection);
}

Status require_text(const SequenceLayout& layout, const std::string& method) {
  const auto& kinds = layout.kinds;
  if (std::find(kinds.begin(), kinds.end(), TokenKind::text) != kinds.end()) return {};
  return make_error(
             ErrorCode::usage,
             method + " ranks visual tokens by the text after them, and this prompt has none")
      .in_field("--prune")
      .with_remedy("Put the question after the picture, or choose another method");
}

Status select_best(Context& context, ConstTensorView scores, std::int64_t k, Selection& selection) {
  selection = {};
  selection.count = k;
  FOVEA_TRY(selection.sources, context.workspace.take(Shape{k}, DType::i32));
  return k > 0 ? top_k_indices(context, scores, selection.sources) : Status{};
}

}  // namespace fovea
