#include "pruning/methods/sparsevlm.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/ops/gather/gather.h"
#include "kernels/ops/similarity/similarity.h"
#include "kernels/ops/topk/topk.h"

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
  raters_.clear();
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
  FOVEA_TRY(const ConstTensorView text, input.text_hidden(context));
  FOVEA_TRY(const ConstTensorView visual, input.visual_hidden(context));
  FOVEA_TRY(raters_, rater_shares(context, text, visual));
  return {};
}

Result<TensorView> SparseVlm::score(Context& context, int, StageInput& input) {
  if (static_cast<std::int64_t>(raters_.size()) != input.row_count(RowSet::text)) {
    return make_error(ErrorCode::internal, "SparseVLM was not shown the prompt's embeddings");
  }
  return version_ == SparseVlmVersion::v1 ? score_v1(context, input) : score_v2(context, input);
}

Result<TensorView> SparseVlm::score_v1(Context& context, StageInput& input) const {
  FOVEA_TRY(const TensorView weights,
            context.workspace.take(Shape{static_cast<std::int64_t>(raters_.size())}, DType::f32));
  std::copy(raters_.begin(), raters_.end(), weights.as<float>());
  ScoreRequest request;
  request.rows = RowSet::text;
  request.row_weights = weights;
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
  const std::int64_t heads = tile.shape[0], text = tile.shape[1];

  // Ratings of each head, and how much attention they add up to.
  FOVEA_TRY(const TensorView ratings, context.workspace.take(Shape{heads, present}, DType::f32));
  std::fill_n(ratings.as<float>(), heads * present, 0.0f);
  std::vector<float> corrections(static_cast<std::size_t>(present));
  const std::int32_t farthest = std::max(*std::max_element(rows.begin(), rows.end()),
                                         *std::max_element(columns.begin(), columns.end()));
  const std::vector<float> weights =
      distance_weights(farthest + 1, shape_.head_dim, shape_.rope_theta);
  for (std::int64_t r = 0; r < text; ++r) {
    const auto row = static_cast<std::size_t>(r);
    if (raters_[row] == 0) continue;
    for (std::size_t c = 0; c < corrections.size(); ++c) {
      corrections[c] =
          raters_[row] / weights[static_cast<std::size_t>(std::abs(rows[row] - columns[c]))];
    }
    for (std::int64_t h = 0; h < heads; ++h) {
      const float* p = tile.row<float>(h) + r * present;
      float* rating = ratings.row<float>(h);
      for (std::int64_t c = 0; c < present; ++c) {
        rating[c] += p[c] * corrections[static_cast<std::size_t>(c)];
      }
    }
  }
  std::vector<float> masses;
  for (std::int64_t h = 0; h < heads; ++h) {
    const float* rating = ratings.row<float>(h);
    masses.push_back(std::accumulate(rating, rating + present, 0.0f));
  }
  const auto listened = top_k_ascending(masses, listened_heads(static_cast<int>(heads)));
  std::fill_n(out.as<float>(), present, 0.0f);
  for (const std::int32_t h : listened) {
    for (std::int64_t c = 0; c < present; ++c) {
      out.as<float>()[c] += ratings.row<float>(h)[c] / static_cast<float>(listened.size());
    }
  }
  return out;
}

Status SparseVlm::cut(Context& context, int, StageInput& input, ConstTensorView scores,
                      std::int64_t keep, Selection& selection) {
  const std::int64_t present = scores.shape[0];
  if (version_ == SparseVlmVersion::v2 || keep >= present || keep <= 0) {
    return select_best(context, scores, keep, selection);
  }
  const std::span<const float> values(scores.as<float>(), static_cast<std::size_t>(present));
  const std::vector<std::int32_t> kept = top_k_ascending(values, keep);
  std::vector<std::int32_t> dropped;
  std::vector<float> dropped_values;
  for (std::int32_t i = 0; i < present; ++i) {
    if (std::binary_search(kept.begin(), kept.end(), i)) continue;
    dropped.push_back(i);
    dropped_values.push_back(values[static_cast<std::size_t>(i)]);
  }
  const auto dropped_count = static_cast<std::int64_t>(dropped.size());
  std::vector<std::int32_t> recycled =
      top_k_ascending(dropped_values, recycled_tokens(dropped_count));
  for (std::int32_t& place : recycled) place = dropped[static_cast<std::size_t>(place)];

  std::vector<std::vector<std::int32_t>> groups;
  {
    Workspace::Scope scope(context.workspace);
    FOVEA_TRY(const ConstTensorView hidden, input.visual_hidden(context));
    FOVEA_TRY(const TensorView states,
              context.workspace.take(
                  Shape{static_cast<std::int64_t>(recycled.size()), hidden.shape[1]}, DType::f32));
    FOVEA_CHECK(gather_rows(context, hidden, recycled, states));
    groups = density_peak_groups(states, recycled_groups(dropped_count));
  }

  selection = {};
  selection.appended = static_cast<std::int64_t>(groups.size());
  selection.count = keep + selection.appended;
  const auto sources = static_cast<std::int64_t>(kept.size() + recycled.size());
  FOVEA_TRY(selection.sources, context.workspace.take(Shape{sources}, DType::i32));
  FOVEA_TRY(selection.weights, context.workspace.take(Shape{sources}, DType::f32));
  FOVEA_TRY(selection.offsets, context.workspace.take(Shape{selection.count + 1}, DType::i32));
  std::int32_t filled = 0;
  std::int64_t survivor = 0;
  const auto push = [&](std::int32_t source, float weight) {
    selection.sources.as<std::int32_t>()[filled] = source;
    selection.weights.as<float>()[filled++] = weight;
  };
  const auto begin_survivor = [&] { selection.offsets.as<std::int32_t>()[survivor++] = filled; };
  for (const std::int32_t source : kept) {
    begin_survivor();
    push(source, 1.0f);
  }
  for (const auto& group : groups) {
    begin_survivor();
    // A plain mean: the released code weights all recycled tokens alike.
    for (const std::int32_t member : group) {
      push(recycled[static_cast<std::size_t>(member)], 1.0f / static_cast<float>(group.size()));
    }
  }
  selection.offsets.as<std::int32_t>()[survivor] = filled;
  return {};
}

Result<std::vector<float>> rater_shares(Context& context, ConstTensorView text,
                                        ConstTensorView visual) {
  const std::int64_t words = text.rows(), tokens = visual.rows();
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView products, context.workspace.take(Shape{tokens, words}, DType::f32));
  FOVEA_CHECK(row_products(context, visual, text, products));
  std::vector<double> affinity(static_cast<std::size_t>(words), 0.0);
  std::vector<double> shares(affinity.size());
  for (std::int64_t v = 0; v < tokens; ++v) {
    const float* dots = products.row<float>(v);
    const double largest = *std::max_element(dots, dots + words);
    double sum = 0;
    for (std::size_t t = 0; t < shares.size(); ++t) sum += shares[t] = std::exp(dots[t] - largest);
    for (std::size_t t = 0; t < shares.size(); ++t) affinity[t] += shares[t] / sum;
  }
  const double mean =
      std::accumulate(affinity.begin(), affinity.end(), 0.0) / static_cast<double>(words);
  std::vector<float> raters(affinity.size());
  for (std::size_t t = 0; t < raters.size(); ++t) raters[t] = affinity[t] > mean ? 1.0f : 0.0f;
  if (std::count(raters.begin(), raters.end(), 1.0f) == 0) {
    std::fill(raters.begin(), raters.end(), 1.0f);
  }
  const float share = 1.0f / static_cast<float>(std::count(raters.begin(), raters.end(), 1.0f));
  for (float& rater : raters) rater *= share;
  return raters;
}

std::vector<std::vector<std::int32_t>> density_peak_groups(ConstTensorView x, std::int64_t groups) {
  const auto n = static_cast<std::size_t>(x.rows());
  const std::int64_t width = x.shape[1];
  std::vector<std::vector<double>> distance(n, std::vector<double>(n, 0.0));
  double farthest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const float* a = x.row<float>(static_cast<std::int64_t>(i));
      const float* b = x.row<float>(static_cast<std::int64_t>(j));
      double squares = 0;
      for (std::int64_t c = 0; c < width; ++c) {
        const double difference = static_cast<double>(a[c]) - b[c];
        squares += difference * difference;
      }
      distance[i][j] = distance[j][i] = std::sqrt(squares / static_cast<double>(width));
      farthest = std::max(farthest, distance[i][j]);
    }
  }

  std::vector<double> density(n);
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<double> nearest = distance[i];
    std::sort(nearest.begin(), nearest.end());
    double squares = 0;
    for (std::size_t k = 0; k < static_cast<std::size_t>(groups); ++k) {
      squares += nearest[k] * nearest[k];
    }
    density[i] = std::exp(-squares / static_cast<double>(groups));
  }
  std::vector<double> peak(n);
  for (std::size_t i = 0; i < n; ++i) {
    double to_denser = farthest;
    for (std::size_t j = 0; j < n; ++j) {
      const bool denser = density[j] > density[i] || (density[j] == density[i] && j < i);
      if (denser) to_denser = std::min(to_denser, distance[i][j]);
    }
    peak[i] = to_denser * density[i];
  }

  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return peak[a] > peak[b]; });
  order.resize(static_cast<std::size_t>(groups));
  std::vector<std::vector<std::int32_t>> result;
  for (const std::size_t centre : order) result.push_back({static_cast<std::int32_t>(centre)});
  for (std::size_t i = 0; i < n; ++i) {
    if (std::find(order.begin(), order.end(), i) != order.end()) continue;
    const auto nearer = [&](std::size_t a, std::size_t b) {
      return std::pair(distance[i][a], a) < std::pair(distance[i][b], b);
    };
    const auto nearest = std::min_element(order.begin(), order.end(), nearer);
    result[static_cast<std::size_t>(nearest - order.begin())].push_back(
        static_cast<std::int32_t>(i));
  }
  return result;
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
