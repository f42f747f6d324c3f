#include "pruning/methods/zipvl.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "kernels/ops/counts/counts.h"
#include "kernels/ops/rows/rows.h"
#include "pruning/draw.h"

namespace fovea {

const std::vector<SchedulePreset>& zipvl_presets() {
  static const std::vector<SchedulePreset> presets{{.name = "0.975"}, {.name = "0.96"}};
  return presets;
}

Result<std::shared_ptr<ZipVl>> ZipVl::make(const MethodRequest& request) {
  const ScheduleRequest& schedule = request.schedule;
  if (!schedule.layers.empty() || !schedule.keep.empty()) {
    return make_error(
               ErrorCode::usage,
               "ZipVL acts at every layer and finds its counts in the attention: it takes no "
               "layers or counts")
        .in_field(schedule.layers.empty() ? "--prune-keep" : "--prune-layers")
        .with_remedy("Choose how much attention is kept with the option tau");
  }
  if (schedule.budget) {
    return make_error(ErrorCode::usage,
                      "ZipVL drops nothing from the sequence: all visual tokens enter every layer "
                      "whatever its tau, so no budget of entering tokens can be met")
        .in_field("--prune-budget")
        .with_remedy("Choose how much attention is kept with the option tau");
  }
  const auto& presets = zipvl_presets();
  const auto option = request.options.find("tau");
  const std::string wanted = schedule.preset.empty() ? kZipVlDefaultPreset : schedule.preset;
  if (std::none_of(presets.begin(), presets.end(),
                   [&](const SchedulePreset& preset) { return preset.name == wanted; })) {
    return make_error(ErrorCode::usage, "this pruning method has no preset \"" + wanted + "\"")
        .in_field("--prune-preset")
        .with_remedy("It has: 0.975, 0.96");
  }
  const std::string& text = option == request.options.end() ? wanted : option->second;
  double tau = -1;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), tau);
  if (failure != std::errc{} || end != text.data() + text.size() || !(tau >= 0 && tau <= 1)) {
    return make_error(ErrorCode::usage, "expected a share from 0 to 1, found \"" + text + "\"")
        .in_field("tau");
  }
  auto policy = std::make_shared<ZipVl>(tau, request.seed);
  for (const auto& adjustment : request.adjustments) policy->add_adjustment(adjustment);
  return policy;
}

Result<PruningPlan> ZipVl::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  PruningPlan plan;
  plan.positions = PositionMode::original;  // nothing leaves the sequence
  if (tau_ >= 1) return plan;               // all attention is carried by all tokens
  probes_ = probe_positions(layout.tokens(), draw_key(seed_, layout.fingerprint));
  for (int layer = 0; layer < shape.layers; ++layer) {
    plan.stages.push_back({.when = Hook::before_layer,
                           .layer = layer,
                           .keep = layout.visual_count(),
                           .dynamic_count = true,
                           .attention = AttentionSource::preview,
                           .rows = {RowSet::probes},
                           .probes = probes_,
                           .bypass = true});
  }
  return plan;
}

Result<TensorView> ZipVl::score(Context& context, int, StageInput& input) {
  const SequenceLayout& layout = input.layout();
  FOVEA_TRY(const TensorView mass, input.scores(context, {.rows = RowSet::probes,
                                                          .columns = ColumnSet::all,
                                                          .head_reduction = Reduction::mean}));
  FOVEA_TRY(const TensorView carrying, context.workspace.take(Shape{1}, DType::i32));
  FOVEA_CHECK(tokens_carrying(context, mass, tau_, carrying));
  // Divided by the number of probes that can see a token, early tokens lose their head start.
  std::vector<float> seeing(static_cast<std::size_t>(mass.shape[0]), 1.0f);
  std::vector<std::int32_t> visual;
  auto blind = probes_.begin();
  for (std::size_t position = 0; position < seeing.size(); ++position) {
    while (blind != probes_.end() && static_cast<std::size_t>(*blind) < position) ++blind;
    if (blind != probes_.end()) seeing[position] = static_cast<float>(probes_.end() - blind);
    if (layout.kinds[position] == TokenKind::visual) {
      visual.push_back(static_cast<std::int32_t>(position));
    }
  }
  FOVEA_CHECK(divide_scores(context, mass, seeing));
  FOVEA_TRY(important_, context.workspace.take(Shape{1}, DType::i32));
  FOVEA_CHECK(listed_among_best(context, mass, carrying, visual, important_));
  const auto count = static_cast<std::int64_t>(visual.size());
  FOVEA_TRY(const TensorView scores, context.workspace.take(Shape{1, count}, DType::f32));
  const ConstTensorView row(mass.data, DType::f32, Shape{1, mass.shape[0]}, mass.device);
  FOVEA_CHECK(gather_columns(context, row, visual, scores));
  return TensorView(scores.data, DType::f32, Shape{count}, scores.device);
}

Status ZipVl::cut(Context& context, int, StageInput&, ConstTensorView scores, std::int64_t keep,
                  Selection& selection) {
  selection = {};
  selection.count = scores.shape[0];
  FOVEA_TRY(selection.sources, context.workspace.take(Shape{selection.count}, DType::i32));
  FOVEA_CHECK(best_indices(context, scores, keep, important_, selection.sources));
  selection.device_count = important_;
  return {};
}

std::vector<std::int32_t> probe_positions(std::int64_t tokens, std::uint64_t key) {
  const std::int64_t each = (tokens + 19) / 20;
  const std::int64_t recent = std::min(each, tokens), others = tokens - recent;
  std::vector<std::int32_t> order(static_cast<std::size_t>(others));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const auto bits = [&](std::int32_t i) { return drawn(key, static_cast<std::uint64_t>(i)); };
    return std::pair(bits(a), a) < std::pair(bits(b), b);
  });
  order.resize(static_cast<std::size_t>(std::min(each, others)));
  std::sort(order.begin(), order.end());
  for (std::int64_t position = others; position < tokens; ++position) {
    order.push_back(static_cast<std::int32_t>(position));
  }
  return order;
}

}  // namespace fovea
