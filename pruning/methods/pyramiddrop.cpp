#include "pruning/methods/pyramiddrop.h"

#include <algorithm>
#include <numeric>

#include "kernels/ops/ratings/ratings.h"
#include "kernels/ops/reduce/reduce.h"

namespace fovea {

const std::vector<SchedulePreset>& pyramiddrop_presets() {
  static const std::vector<SchedulePreset> presets{
      {"0.5", 32, 576, {{8, {0.5, true}}, {16, {0.25, true}}, {24, {0.125, true}}}},
      {"strong", 32, 576, {{2, {0.32, true}}, {10, {0.16, true}}, {20, {0.08, true}}}},
  };
  return presets;
}

Result<PruningPlan> PyramidDrop::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  FOVEA_TRY(const auto stages,
            resolve_schedule(request_, pyramiddrop_presets(), kPyramidDropDefaultPreset,
                             CutSide::before, shape.layers, layout.visual_count()));
  PruningPlan plan;
  plan.positions = PositionMode::compact;  // what the released code does
  for (const ScheduleStage& stage : stages) {
    plan.stages.push_back({.when = Hook::before_layer,
                           .layer = stage.layer,
                           .keep = stage.keep.tokens(layout.visual_count()),
                           .attention = AttentionSource::preview,
                           .rows = {RowSet::last}});
  }
  return plan;
}

Result<TensorView> PyramidDrop::score(Context& context, int, StageInput& input) {
  return input.scores(context, {.rows = RowSet::last, .head_reduction = Reduction::mean});
}

Status PyramidDrop::cut(Context& context, int, StageInput& input, ConstTensorView scores,
                        std::int64_t keep, Selection& selection) {
  const SequenceLayout& layout = input.layout();
  const auto picture_of = [&](std::int32_t id) {
    return static_cast<std::size_t>(layout.visual[static_cast<std::size_t>(id)].image);
  };
  std::vector<std::int64_t> sizes;  // of each picture, before any cut
  for (const std::int32_t id : layout.visual_ids) {
    if (id < 0) continue;
    if (picture_of(id) >= sizes.size()) sizes.resize(picture_of(id) + 1);
    ++sizes[picture_of(id)];
  }
  // A picture's tokens stand before the next one's.
  std::vector<std::int64_t> present(sizes.size(), 0);
  std::size_t latest = 0;
  for (const std::int32_t id : input.visual_ids()) {
    if (picture_of(id) < latest) {
      return make_error(ErrorCode::internal, "the tokens of two pictures are mixed up");
    }
    latest = picture_of(id);
    ++present[latest];
  }
  std::vector<std::int64_t> shares = proportional_shares(keep, sizes);
  selection = {};
  for (std::size_t picture = 0; picture < sizes.size(); ++picture) {
    shares[picture] = std::min(shares[picture], present[picture]);
    selection.count += shares[picture];
  }
  FOVEA_TRY(selection.sources, context.workspace.take(Shape{selection.count}, DType::i32));
  std::int64_t first = 0, filled = 0;
  for (std::size_t picture = 0; picture < sizes.size(); ++picture) {
    const TensorView kept = selection.sources.slice(filled, shares[picture]);
    FOVEA_CHECK(top_k_indices(context, scores.slice(first, present[picture]), kept));
    FOVEA_CHECK(shift_numbers(context, kept, static_cast<std::int32_t>(first)));
    first += present[picture];
    filled += shares[picture];
  }
  return {};
}

std::vector<std::int64_t> proportional_shares(std::int64_t total,
                                              const std::vector<std::int64_t>& sizes) {
  const std::int64_t sum = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  std::vector<std::int64_t> shares(sizes.size(), 0), remainders(sizes.size(), 0);
  if (sum == 0) return shares;
  std::int64_t left = total;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    shares[i] = total * sizes[i] / sum;
    remainders[i] = total * sizes[i] % sum;
    left -= shares[i];
  }
  std::vector<std::size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
  for (std::size_t i = 0; i < order.size() && left > 0; ++i, --left) ++shares[order[i]];
  return shares;
}

}  // namespace fovea
