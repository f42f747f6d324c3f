#include "pruning/methods/sparsevlm.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/ops/gather/gather.h"
#include "kernels/ops/groups/groups.h"
#include "kernels/ops/ratings/ratings.h"
#include "kernels/ops/reduce/reduce.h"
#include "kernels/ops/similarity/similarity.h"

namespace fovea {

const std::vector<SchedulePreset>& sparsevlm_presets() {
  static const std::vector<SchedulePreset> presets{
      {"192", 32, 576, {{2, {300}}, {6, {200}}, {15, {110}}}},
      {"128", 32, 576, {{2, {303}}, {6, {110}}, {15, {36}}}},
      {"96", 32, 576, {{2, {238}}, {6, {48}}, {15, {26}}}},
      {"64", 32, 576, {{2, {66}}, {6, {30}}, {15, {17}}}},
  };
  return presets;
}

const std::vector<SchedulePreset>& sparsevlm_v2_presets() {
  static const std::vector<SchedulePreset> presets{
      {"192", 32, 576, {{2, {300}}, {6, {200}}, {15, {118}}}},
      {"128", 32, 576, {{2, {238}}, {6, {108}}, {15, {60}}}},
      {"96", 32, 576, {{2, {246}}, {6, {54}}, {15, {28}}}},
      {"64", 32, 576, {{2, {66}}, {6, {34}}, {15, {20}}}},
  };
  return presets;
}

std::int64_t recycled_tokens(std::int64_t dropped) {
  return dropped > 0 ? std::min(dropped, dropped * 3 / 10 + 1) : 0;
}

std::int64_t recycled_groups(std::int64_t dropped) {
  return dropped > 0 ? recycled_tokens(dropped) / 10 + 1 : 0;
}

namespace {

std::int64_t left_with_recycling(std::int64_t present, std::int64_t keep) {
  return keep > 0 ? keep + recycled_groups(present - keep) : 0;
}

}  // namespace

Result<PruningPlan> SparseVlm::make_plan(const SequenceLayout& layout, const ModelShape& shape) {
  FOVEA_CHECK(require_text(layout, "SparseVLM"));
  const bool v1 = version_ == SparseVlmVersion::v1;
  FOVEA_TRY(const auto stages,
            resolve_schedule(request_, v1 ? sparsevlm_presets() : sparsevlm_v2_presets(),
                             kSparseVlmDefaultPreset, CutSide::after, shape.layers,
                             layout.visual_count(), v1 ? left_with_recycling : nullptr));
  shape_ = shape;
  raters_ = {};
  PruningPlan plan;
  plan.positions = v1 ? PositionMode::compact : PositionMode::original;
  plan.reads_embeddings = true;
  for (const ScheduleStage& stage : stages) {
    plan.stages.push_back({.when = Hook::after_layer,
                           .layer = stage.layer,
                           .keep = stage.keep.tokens(layout.visual_count()),
                           .attention = AttentionSource::this_layer,
                           .rows = {RowSet::text}});
  }
  return plan;
}

Status SparseVlm::read_embeddings(Context& context, StageInput& input) {
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const ConstTensorView text, input.text_hidden(context));
  FOVEA_TRY(const ConstTensorView visual, input.visual_hidden(context));
  FOVEA_TRY(const TensorView products,
            context.workspace.take(Shape{visual.rows(), text.rows()}, DType::f32));
  FOVEA_CHECK(row_products(context, visual, text, products));
  FOVEA_TRY(raters_, Tensor::allocate(Shape{text.rows()}, DType::f32, context.device));
  return rater_shares(context, products, raters_.view());
}

Result<TensorView> SparseVlm::score(Context& context, int, StageInput& input) {
  if (raters_.empty() || raters_.shape()[0] != input.row_count(RowSet::text)) {
    return make_error(ErrorCode::internal, "SparseVLM was not shown the prompt's embeddings");
  }
  return version_ == SparseVlmVersion::v1 ? score_v1(context, input) : score_v2(context, input);
}

Result<TensorView> SparseVlm::score_v1(Context& context, StageInput& input) const {
  ScoreRequest request;
  request.rows = RowSet::text;
  request.row_weights = raters_.view();
  request.head_reduction = Reduction::mean;
  return input.scores(context, request);
}

Result<TensorView> SparseVlm::score_v2(Context& context, StageInput& input) const {
  const auto present = static_cast<std::int64_t>(input.visual_ids().size());
  FOVEA_TRY(const TensorView out, context.workspace.take(Shape{present}, DType::f32));
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView tile, input.scores(context, {.rows = RowSet::text,
                                                          .row_reduction = Reduction::none,
                                                          .head_reduction = Reduction::none}));
  const std::vector<std::int32_t> rows = input.positions(RowSet::text);
  const std::vector<std::int32_t> columns = input.positions(RowSet::visual);
  const std::int64_t heads = tile.shape[0];

  // Ratings of each head, and how much attention they add up to.
  FOVEA_TRY(const TensorView ratings, context.workspace.take(Shape{heads, present}, DType::f32));
  FOVEA_TRY(const TensorView masses, context.workspace.take(Shape{heads}, DType::f32));
  const std::int32_t farthest = std::max(*std::max_element(rows.begin(), rows.end()),
                                         *std::max_element(columns.begin(), columns.end()));
  const std::vector<float> weights =
      distance_weights(farthest + 1, shape_.head_dim, shape_.rope_theta);
  FOVEA_CHECK(rate_by_distance(context, tile, raters_.view(), rows, columns, weights, ratings));
  FOVEA_CHECK(row_sums(context, ratings, masses));
  FOVEA_TRY(const TensorView listened,
            context.workspace.take(Shape{listened_heads(static_cast<int>(heads))}, DType::i32));
  FOVEA_CHECK(top_k_indices(context, masses, listened));
  FOVEA_CHECK(mean_of_rows(context, ratings, listened, out));
  return out;
}

Status SparseVlm::cut(Context& context, int, StageInput& input, ConstTensorView scores,
                      std::int64_t keep, Selection& selection) {
  const std::int64_t present = scores.shape[0];
  if (version_ == SparseVlmVersion::v2 || keep >= present || keep <= 0) {
    return select_best(context, scores, keep, selection);
  }
  Workspace& workspace = context.workspace;
  const std::int64_t recycled = recycled_tokens(present - keep);
  selection = {};
  selection.appended = recycled_groups(present - keep);
  selection.count = keep + selection.appended;
  FOVEA_TRY(selection.sources, workspace.take(Shape{keep + recycled}, DType::i32));
  FOVEA_TRY(selection.weights, workspace.take(Shape{keep + recycled}, DType::f32));
  FOVEA_TRY(selection.offsets, workspace.take(Shape{selection.count + 1}, DType::i32));

  Workspace::Scope scope(workspace);
  FOVEA_TRY(const TensorView kept, workspace.take(Shape{keep}, DType::i32));
  FOVEA_TRY(const TensorView used, workspace.take(Shape{keep + recycled}, DType::i32));
  FOVEA_TRY(const TensorView merged, workspace.take(Shape{recycled}, DType::i32));
  FOVEA_CHECK(top_k_indices(context, scores, kept));
  FOVEA_CHECK(top_k_indices(context, scores, used));
  FOVEA_CHECK(without(context, used, kept, merged));  // the best of those that are dropped
  FOVEA_TRY(const ConstTensorView hidden, input.visual_hidden(context));
  FOVEA_TRY(const TensorView states, workspace.take(Shape{recycled, hidden.shape[1]}, DType::f32));
  FOVEA_CHECK(gather_rows(context, hidden, ConstTensorView(merged), states));
  Groups groups;
  FOVEA_TRY(groups.offsets, workspace.take(Shape{selection.appended + 1}, DType::i32));
  FOVEA_TRY(groups.members, workspace.take(Shape{recycled}, DType::i32));
  FOVEA_CHECK(density_peak_groups(context, states, groups));
  // A plain mean: the released code weights all recycled tokens alike.
  return singles_and_groups(context, kept, merged, groups, GroupWeights::mean, selection.sources,
                            selection.offsets, selection.weights);
}

std::vector<float> distance_weights(std::int64_t count, std::int64_t head_dim, double rope_theta) {
  std::vector<double> frequencies;
  for (std::int64_t c = 0; c < head_dim / 2; ++c) {
    frequencies.push_back(
        std::pow(rope_theta, -2.0 * static_cast<double>(c) / static_cast<double>(head_dim)));
  }
  const auto at_zero = static_cast<double>(head_dim);
  std::vector<float> weights;
  for (std::int64_t distance = 0; distance < count; ++distance) {
    double sum = 0;
    for (const double frequency : frequencies) {
      sum += 2.0 * std::cos(static_cast<double>(distance) * frequency);
    }
    weights.push_back(static_cast<float>(std::max(sum, at_zero / 16.0) / std::sqrt(at_zero)));
  }
  return weights;
}

int listened_heads(int heads) {
  return std::max(1, static_cast<int>(std::lround(14.0 * heads / 32.0)));
}

}  // namespace fovea
