#include "pruning/methods/given_tokens.h"

#include <algorithm>
#include <functional>

namespace fovea {

bool GivenTokens::keeps(std::int32_t id) const {
  return std::binary_search(ids_.begin(), ids_.end(), id) == (named_ == Named::kept);
}

Result<PruningPlan> GivenTokens::plan(const SequenceLayout& layout, const ModelShape& shape) {
  if (std::adjacent_find(ids_.begin(), ids_.end(), std::greater_equal<>()) != ids_.end()) {
    return make_error(ErrorCode::usage, "the tokens named must ascend, each named once");
  }
  const std::int64_t ids = layout.id_count();
  if (!ids_.empty() && (ids_.front() < 0 || ids_.back() >= ids)) {
    const std::int32_t wrong = ids_.front() < 0 ? ids_.front() : ids_.back();
    return make_error(ErrorCode::usage, "token " + std::to_string(wrong) +
                                            " was named, and the prompt has " +
                                            std::to_string(ids) + " visual tokens, counted from 0");
  }
  if (layer_ < 0 || layer_ >= shape.layers) {
    return make_error(ErrorCode::usage, "there is no layer " + std::to_string(layer_) +
                                            ": the model has layers 0 to " +
                                            std::to_string(shape.layers - 1))
        .in_field("--prune-layers");
  }
  std::int64_t present = 0, kept = 0;
  for (const std::int32_t id : layout.visual_ids) {
    present += id >= 0 ? 1 : 0;
    kept += id >= 0 && keeps(id) ? 1 : 0;
  }
  PruningPlan plan;
  if (kept < present) {
    plan.stages.push_back({.when = Hook::before_layer, .layer = layer_, .keep = kept});
  }
  return plan;
}

Status GivenTokens::select(Context& context, int, StageInput& input, Selection& selection) {
  std::vector<std::int32_t> kept;
  const auto ids = input.visual_ids();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (keeps(ids[i])) kept.push_back(static_cast<std::int32_t>(i));
  }
  selection = {};
  selection.count = static_cast<std::int64_t>(kept.size());
  FOVEA_TRY(selection.sources, context.workspace.take(Shape{selection.count}, DType::i32));
  std::copy(kept.begin(), kept.end(), selection.sources.as<std::int32_t>());
  return {};
}

}  // namespace fovea
