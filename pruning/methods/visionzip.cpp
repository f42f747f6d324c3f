#include "pruning/methods/visionzip.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "kernels/ops/cut/cut.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/groups/groups.h"
#include "kernels/ops/reduce/reduce.h"
#include "kernels/ops/rows/rows.h"
#include "kernels/ops/similarity/similarity.h"
#include "pruning/placed.h"

namespace fovea {

const std::vector<SchedulePreset>& visionzip_presets() {
  static const std::vector<SchedulePreset> presets{
      {"221", 32, 576, {{0, {221}}}},
      {"192", 32, 576, {{0, {192}}}},
      {"128", 32, 576, {{0, {128}}}},
      {"64", 32, 576, {{0, {64}}}},
  };
  return presets;
}

namespace {

/// Contextual tokens among `keep`: 30 of 192, 20 of 128 and 10 of 64 are one ratio; the default's
/// 30 of 221 is another.
std::int64_t published_contextual(const ScheduleRequest& request, std::int64_t keep) {
  const bool own_count = !request.keep.empty() || request.budget.has_value();
  const bool default_preset = request.preset.empty() || request.preset == kVisionZipDefaultPreset;
  const double ratio = !own_count && default_preset ? 30.0 / 221.0 : 10.0 / 64.0;
  return std::llround(ratio * static_cast<double>(keep));
}

}  // namespace

Result<std::shared_ptr<Policy>> VisionZip::make(const MethodRequest& request) {
  std::optional<std::int64_t> contextual;
  if (const auto found = request.options.find("contextual"); found != request.options.end()) {
    const std::string& text = found->second;
    std::int64_t count = -1;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (failure != std::errc() || end != text.data() + text.size() || count < 0) {
      return make_error(ErrorCode::usage, "contextual must be a count of tokens")
          .in_field("--prune-option");
    }
    contextual = count;
  }
  return std::shared_ptr<Policy>(std::make_shared<VisionZip>(request.schedule, contextual));
}

Result<std::optional<VisionZipSplit>> split_tokens(const ScheduleRequest& request,
                                                   std::optional<std::int64_t> contextual,
                                                   std::int64_t patches) {
  if (!request.layers.empty()) {
    return make_error(ErrorCode::usage, "VisionZip acts where the projector reads the vision tower")
        .in_field("--prune-layers")
        .with_remedy("Leave out --prune-layers");
  }
  // Every layer of the decoder sees as many tokens, so that a single one stands for all.
  FOVEA_TRY(const auto stages,
            resolve_schedule(request, visionzip_presets(), kVisionZipDefaultPreset, CutSide::before,
                             1, patches));
  if (stages.empty()) return std::optional<VisionZipSplit>();
  const std::int64_t keep = stages.front().keep.tokens(patches);
  VisionZipSplit split;
  split.contextual = contextual.value_or(published_contextual(request, keep));
  split.dominant = keep - split.contextual;
  if (split.dominant < 1) {
    return make_error(ErrorCode::usage, "of " + std::to_string(keep) + " tokens, " +
                                            std::to_string(split.contextual) +
                                            " contextual ones leave no room for the class token")
        .in_field("--prune-keep")
        .with_remedy("Keep more tokens, or ask for fewer contextual ones");
  }
  return std::optional<VisionZipSplit>(split);
}

Result<PruningPlan> VisionZip::plan(const SequenceLayout& layout, const ModelShape& shape) {
  const auto patches = std::count_if(layout.visual.begin(), layout.visual.end(),
                                     [](const VisualToken& token) { return token.row >= 0; });
  FOVEA_TRY(const auto split, split_tokens(request_, contextual_, patches));
  PruningPlan plan;
  plan.positions = PositionMode::compact;
  plan.keeps_class_token = true;
  if (!split) return plan;
  split_ = *split;
  plan.stages.push_back({.when = Hook::vit_block,
                         .layer = shape.layers - 1,
                         .keep = split_.kept(),
                         .attention = AttentionSource::this_layer,
                         .rows = {RowSet::class_token}});
  return plan;
}

namespace {

/// Rows of the tower, on the host.
struct TowerRows {
  std::vector<std::int32_t> class_token, patches;
};

Result<TowerRows> rows_of_tower(const StageInput& input) {
  TowerRows rows;
  const auto ids = input.visual_ids();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool has_cell = input.layout().visual[static_cast<std::size_t>(ids[i])].row >= 0;
    (has_cell ? rows.patches : rows.class_token).push_back(static_cast<std::int32_t>(i));
  }
  if (rows.class_token.empty()) {
    return make_error(ErrorCode::unsupported,
                      "VisionZip reads the attention of the class token, and this tower has none");
  }
  rows.class_token = {rows.class_token.back()};
  return rows;
}

/// The patches that the class token looks at most, and the others, as rows of the tower.
Status rank_patches(Context& context, StageInput& input, const std::vector<std::int32_t>& patches,
                    TensorView dominant, TensorView rest) {
  const auto count = static_cast<std::int64_t>(patches.size());
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView scores, input.scores(context, {.rows = RowSet::class_token}));
  FOVEA_TRY(TensorView of_patches, context.workspace.take(Shape{1, count}, DType::f32));
  const ConstTensorView row(scores.data, DType::f32, Shape{1, scores.shape[0]}, scores.device);
  FOVEA_CHECK(gather_columns(context, row, patches, of_patches));
  of_patches = TensorView(of_patches.data, DType::f32, Shape{count}, of_patches.device);
  FOVEA_TRY(const TensorView best, context.workspace.take(dominant.shape, DType::i32));
  FOVEA_CHECK(top_k_indices(context, of_patches, best));
  FOVEA_TRY(const TensorView all, placed(context, patches));
  FOVEA_CHECK(pick_numbers(context, all, best, dominant));
  return without(context, all, dominant, rest);
}

/// The places of `count` things with those of `targets` first, which lie at a uniform stride.
std::vector<std::int32_t> targets_first(std::int64_t count, std::int64_t targets) {
  const std::int64_t stride = count / targets;
  std::vector<std::int32_t> places, others;
  for (std::int64_t i = 0; i < count; ++i) {
    const bool target = i % stride == 0 && i / stride < targets;
    (target ? places : others).push_back(static_cast<std::int32_t>(i));
  }
  places.insert(places.end(), others.begin(), others.end());
  return places;
}

/// Groups of `rows`, the first of which are the targets: every other row joins the target whose
/// keys are most like its own (the first among equals).
Status group_by_keys(Context& context, StageInput& input, ConstTensorView rows,
                     std::int64_t targets, const Groups& groups) {
  const std::int64_t others = rows.shape[0] - targets;
  FOVEA_TRY(const ConstTensorView keys, input.visual_keys(context));
  FOVEA_TRY(const TensorView unit, context.workspace.take(keys.shape, DType::f32));
  FOVEA_CHECK(normalize_rows(context, keys, unit));
  FOVEA_TRY(const TensorView ordered,
            context.workspace.take(Shape{rows.shape[0], keys.shape[1]}, DType::f32));
  FOVEA_CHECK(gather_rows(context, unit, rows, ordered));
  FOVEA_TRY(const TensorView cosines, context.workspace.take(Shape{others, targets}, DType::f32));
  FOVEA_CHECK(
      row_products(context, ordered.slice(targets, others), ordered.slice(0, targets), cosines));
  return join_most_alike(context, cosines, groups);
}

}  // namespace

Status VisionZip::select(Context& context, int, StageInput& input, Selection& selection) {
  Workspace& workspace = context.workspace;
  FOVEA_TRY(const TowerRows rows, rows_of_tower(input));
  const auto patches = static_cast<std::int64_t>(rows.patches.size());
  const std::int64_t dominant = std::min(split_.dominant - 1, patches);
  const std::int64_t rest = patches - dominant;
  const std::int64_t targets = std::min(split_.contextual, rest);
  const std::int64_t members = targets > 0 ? rest : 0;  // without targets the rest is dropped
  selection = {};
  selection.count = 1 + dominant + targets;
  selection.appended = targets;
  FOVEA_TRY(selection.sources, workspace.take(Shape{1 + dominant + members}, DType::i32));
  FOVEA_TRY(selection.weights, workspace.take(Shape{1 + dominant + members}, DType::f32));
  FOVEA_TRY(selection.offsets, workspace.take(Shape{selection.count + 1}, DType::i32));

  Workspace::Scope scope(workspace);
  FOVEA_TRY(const TensorView singles, workspace.take(Shape{1 + dominant}, DType::i32));
  FOVEA_TRY(const TensorView others, workspace.take(Shape{rest}, DType::i32));
  FOVEA_TRY(const TensorView class_token, placed(context, rows.class_token));
  FOVEA_CHECK(copy(context, class_token, singles.slice(0, 1)));
  FOVEA_CHECK(rank_patches(context, input, rows.patches, singles.slice(1, dominant), others));
  Groups groups;
  FOVEA_TRY(groups.offsets, workspace.take(Shape{targets + 1}, DType::i32));
  FOVEA_TRY(groups.members, workspace.take(Shape{members}, DType::i32));
  FOVEA_TRY(const TensorView names, workspace.take(Shape{members}, DType::i32));
  if (members > 0) {
    FOVEA_TRY(const TensorView order, placed(context, targets_first(rest, targets)));
    FOVEA_CHECK(pick_numbers(context, others, order, names));
    FOVEA_CHECK(group_by_keys(context, input, names, targets, groups));
  } else {
    FOVEA_TRY(const TensorView none, placed(context, std::vector<std::int32_t>{0}));
    FOVEA_CHECK(copy(context, none, groups.offsets));
  }
  // The target's own state plus the mean of those that joined it: a sum, not one mean over all.
  return singles_and_groups(context, singles, names, groups, GroupWeights::first_and_mean,
                            selection.sources, selection.offsets, selection.weights);
}

}  // namespace fovea
