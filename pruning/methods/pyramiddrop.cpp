#include "pruning/methods/pyramiddrop.h"

#include <algorithm>
#include <numeric>

#include "kernels/ops/topk/topk.h"

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

bool PyramidDrop::scores_on_device(const SequenceLayout& layout) const {
  return std::all_of(layout.visual.begin(), layout.visual.end(), [&](const VisualToken& token) {
    return token.image == layout.visual.front().image;
  });
}

Status PyramidDrop::cut(Context& context, int, StageInput& input, ConstTensorView scores,
                        std::int64_t keep, Selection& selection) {
  if (context.on_cuda()) return select_best(context, scores, keep, selection);
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
  std::vector<std::vector<std::int32_t>> present(sizes.size());
  std::vector<std::vector<float>> ranks(sizes.size());
  const auto ids = input.visual_ids();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    present[picture_of(ids[i])].push_back(static_cast<std::int32_t>(i));
    ranks[picture_of(ids[i])].push_back(scores.as<float>()[i]);
  }

  const std::vector<std::int64_t> shares = proportional_shares(keep, sizes);
  std::vector<std::int32_t> kept;
  for (std::size_t picture = 0; picture < sizes.size(); ++picture) {
    for (const std::int32_t place : top_k_ascending(ranks[picture], shares[picture])) {
      kept.push_back(present[picture][static_cast<std::size_t>(place)]);
    }
  }
  std::sort(kept.begin(), kept.end());
  selection = {};
  selection.count = static_cast<std::int64_t>(kept.size());
  FOVEA_TRY(selection.sources, context.workspace.take(Shape{selection.count}, DType::i32));
  std::copy(kept.begin(), kept.end(), selection.sources.as<std::int32_t>());
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
