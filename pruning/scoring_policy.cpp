#include "pruning/scoring_policy.h"

#include <algorithm>

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

bool ScoringPolicy::selects_on_device(const SequenceLayout& layout) const {
  return scores_on_device(layout) &&
         std::all_of(adjustments_.begin(), adjustments_.end(),
                     [](const auto& adjustment) { return adjustment->by_factors() != nullptr; });
}

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
    if (context.on_cuda()) {
      FOVEA_TRY(const auto found, adjustment->by_factors()->factors(stage_index, input));
      if (!found.factors.empty()) FOVEA_CHECK(scale_scores(context, scores, found.factors));
      keep = std::min(keep, found.allowed);
      continue;
    }
    const std::span<float> values(scores.as<float>(), static_cast<std::size_t>(present));
    FOVEA_TRY(const std::int64_t allowed, adjustment->adjust(stage_index, input, values));
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
