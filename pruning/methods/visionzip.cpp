#include "pruning/methods/visionzip.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "kernels/ops/gather/gather.h"
#include "kernels/ops/similarity/similarity.h"
#include "kernels/ops/topk/topk.h"

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

/// Rows of the tower: the class token's, the patches it looks at most, and the others.
struct Ranked {
  std::int32_t class_row = -1;
  std::vector<std::int32_t> dominant, rest;  // ascending
};

Result<Ranked> rank_patches(Context& context, StageInput& input, std::int64_t keep) {
  Ranked ranked;
  const auto ids = input.visual_ids();
  std::vector<std::int32_t> patches;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool has_cell = input.layout().visual[static_cast<std::size_t>(ids[i])].row >= 0;
    if (has_cell) {
      patches.push_back(static_cast<std::int32_t>(i));
    } else {
      ranked.class_row = static_cast<std::int32_t>(i);
    }
  }
  if (ranked.class_row < 0) {
    return make_error(ErrorCode::unsupported,
                      "VisionZip reads the attention of the class token, and this tower has none");
  }
  FOVEA_TRY(const TensorView scores, input.scores(context, {.rows = RowSet::class_token}));
  std::vector<float> of_patches;
  for (const std::int32_t row : patches) of_patches.push_back(scores.as<float>()[row]);
  std::size_t next = 0;
  const std::vector<std::int32_t> best = top_k_ascending(of_patches, keep);
  for (std::size_t i = 0; i < patches.size(); ++i) {
    const bool chosen = next < best.size() && best[next] == static_cast<std::int32_t>(i);
    (chosen ? ranked.dominant : ranked.rest).push_back(patches[i]);
    if (chosen) ++next;
  }
  return ranked;
}

/// Groups of `rest`, each with its target first: targets lie at a uniform stride, every other row
/// joins the target whose keys are most like its own (the first among equals).
Result<std::vector<std::vector<std::int32_t>>> group_rest(Context& context, StageInput& input,
                                                          const std::vector<std::int32_t>& rest,
                                                          std::int64_t targets) {
  std::vector<std::vector<std::int32_t>> groups;
  const auto count = static_cast<std::int64_t>(rest.size());
  targets = std::min(targets, count);
  if (targets <= 0) return groups;
  const std::int64_t stride = count / targets;
  std::vector<std::int32_t> others;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t row = rest[static_cast<std::size_t>(i)];
    if (i % stride == 0 && i / stride < targets) {
      groups.push_back({row});
    } else {
      others.push_back(row);
    }
  }
  FOVEA_TRY(const ConstTensorView keys, input.visual_keys(context));
  FOVEA_TRY(const TensorView unit, context.workspace.take(keys.shape, DType::f32));
  FOVEA_CHECK(normalize_rows(context, keys, unit));
  const auto gathered = [&](const std::vector<std::int32_t>& rows) -> Result<TensorView> {
    FOVEA_TRY(const TensorView out,
              context.workspace.take(Shape{static_cast<std::int64_t>(rows.size()), keys.shape[1]},
                                     DType::f32));
    FOVEA_CHECK(gather_rows(context, unit, rows, out));
    return out;
  };
  std::vector<std::int32_t> target_rows;
  for (const auto& group : groups) target_rows.push_back(group.front());
  FOVEA_TRY(const TensorView target_keys, gathered(target_rows));
  FOVEA_TRY(const TensorView other_keys, gathered(others));
  FOVEA_TRY(
      const TensorView cosines,
      context.workspace.take(Shape{static_cast<std::int64_t>(others.size()), targets}, DType::f32));
  FOVEA_CHECK(row_products(context, other_keys, target_keys, cosines));
  for (std::size_t i = 0; i < others.size(); ++i) {
    const float* row = cosines.row<float>(static_cast<std::int64_t>(i));
    const auto best = arg_max({row, static_cast<std::size_t>(targets)});
    groups[static_cast<std::size_t>(std::max(best, 0))].push_back(others[i]);
  }
  return groups;
}

}  // namespace

Status VisionZip::select(Context& context, int, StageInput& input, Selection& selection) {
  FOVEA_TRY(const Ranked ranked, rank_patches(context, input, split_.dominant - 1));
  FOVEA_TRY(const auto groups, group_rest(context, input, ranked.rest, split_.contextual));

  std::vector<std::int32_t> offsets{0}, sources{ranked.class_row};
  offsets.push_back(1);
  std::vector<float> weights{1.0f};
  for (const std::int32_t row : ranked.dominant) {
    sources.push_back(row);
    weights.push_back(1.0f);
    offsets.push_back(static_cast<std::int32_t>(sources.size()));
  }
  // The target's own state plus the mean of those that joined it: a sum, not one mean over all.
  for (const auto& group : groups) {
    const float share = 1.0f / static_cast<float>(std::max<std::size_t>(group.size() - 1, 1));
    for (std::size_t i = 0; i < group.size(); ++i) {
      sources.push_back(group[i]);
      weights.push_back(i == 0 ? 1.0f : share);
    }
    offsets.push_back(static_cast<std::int32_t>(sources.size()));
  }

  selection = {};
  selection.count = static_cast<std::int64_t>(offsets.size()) - 1;
  selection.appended = static_cast<std::int64_t>(groups.size());
  const auto taken = [&](const auto& values, DType dtype) -> Result<TensorView> {
    FOVEA_TRY(const TensorView view,
              context.workspace.take(Shape{static_cast<std::int64_t>(values.size())}, dtype));
    std::copy(values.begin(), values.end(),
              view.as<typename std::decay_t<decltype(values)>::value_type>());
    return view;
  };
  FOVEA_TRY(selection.sources, taken(sources, DType::i32));
  FOVEA_TRY(selection.offsets, taken(offsets, DType::i32));
  FOVEA_TRY(selection.weights, taken(weights, DType::f32));
  return {};
}

}  // namespace fovea
