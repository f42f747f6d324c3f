#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/ops/common/checks.h"
#include "kernels/ops/groups/groups.h"
#include "kernels/ops/topk/topk.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/groups/groups_cuda.h"
#endif

namespace fovea {
namespace {

Status check_groups(const Context& context, const Groups& groups, std::int64_t count) {
  FOVEA_CHECK(check_list(context, "groups members", groups.members, DType::i32, count));
  return check_list(context, "groups offsets", groups.offsets, DType::i32, groups.offsets.rows());
}

/// Writes groups, each with its first member first.
void write(const std::vector<std::vector<std::int32_t>>& list, const Groups& groups) {
  std::int32_t filled = 0;
  std::int32_t* offset = groups.offsets.as<std::int32_t>();
  *offset++ = 0;
  for (const auto& group : list) {
    std::copy(group.begin(), group.end(), groups.members.as<std::int32_t>() + filled);
    *offset++ = filled += static_cast<std::int32_t>(group.size());
  }
}

using Distances = std::vector<std::vector<double>>;

Distances distances_of(ConstTensorView x) {
  const auto n = static_cast<std::size_t>(x.rows());
  const std::int64_t width = x.shape[1];
  Distances distance(n, std::vector<double>(n, 0.0));
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
    }
  }
  return distance;
}

double density_of(std::vector<double> nearest, std::size_t groups) {
  std::sort(nearest.begin(), nearest.end());
  double squares = 0;
  for (std::size_t k = 0; k < groups; ++k) squares += nearest[k] * nearest[k];
  return std::exp(-squares / static_cast<double>(groups));
}

/// Density times the distance to the nearest denser row.
std::vector<double> peaks_of(const Distances& distance, std::size_t groups) {
  const std::size_t n = distance.size();
  double farthest = 0;
  std::vector<double> density(n), peak(n);
  for (std::size_t i = 0; i < n; ++i) {
    density[i] = density_of(distance[i], groups);
    farthest = std::max(farthest, *std::max_element(distance[i].begin(), distance[i].end()));
  }
  for (std::size_t i = 0; i < n; ++i) {
    double to_denser = farthest;
    for (std::size_t j = 0; j < n; ++j) {
      const bool denser = density[j] > density[i] || (density[j] == density[i] && j < i);
      if (denser) to_denser = std::min(to_denser, distance[i][j]);
    }
    peak[i] = to_denser * density[i];
  }
  return peak;
}

}  // namespace

Status density_peak_groups(Context& context, ConstTensorView x, const Groups& groups) {
  FOVEA_CHECK(check_f32_rank(context, "density_peak_groups x", x, 2));
  const std::int64_t rows = x.rows(), wanted = groups.offsets.rows() - 1;
  FOVEA_CHECK(check_groups(context, groups, rows));
  if (wanted < 1 || wanted > rows) {
    return make_error(ErrorCode::usage,
                      std::to_string(wanted) + " groups of " + std::to_string(rows) + " rows")
        .in_field("density_peak_groups groups");
  }
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return density_peak_groups_cuda(context, x, groups);
#endif
  const auto n = static_cast<std::size_t>(rows);
  const Distances distance = distances_of(x);
  const std::vector<double> peak = peaks_of(distance, static_cast<std::size_t>(wanted));
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return peak[a] > peak[b]; });
  order.resize(static_cast<std::size_t>(wanted));
  std::vector<std::vector<std::int32_t>> list;
  for (const std::size_t centre : order) list.push_back({static_cast<std::int32_t>(centre)});
  for (std::size_t i = 0; i < n; ++i) {
    if (std::find(order.begin(), order.end(), i) != order.end()) continue;
    const auto nearer = [&](std::size_t a, std::size_t b) {
      return std::pair(distance[i][a], a) < std::pair(distance[i][b], b);
    };
    const auto nearest = std::min_element(order.begin(), order.end(), nearer);
    list[static_cast<std::size_t>(nearest - order.begin())].push_back(static_cast<std::int32_t>(i));
  }
  write(list, groups);
  return {};
}

Status join_most_alike(Context& context, ConstTensorView likeness, const Groups& groups) {
  FOVEA_CHECK(check_f32_rank(context, "join_most_alike likeness", likeness, 2));
  const std::int64_t others = likeness.rows(), targets = groups.offsets.rows() - 1;
  FOVEA_CHECK(check_f32_shape(context, "join_most_alike likeness", likeness, {others, targets}));
  FOVEA_CHECK(check_groups(context, groups, targets + others));
  if (targets < 1) {
    return make_error(ErrorCode::usage, "nothing to join").in_field("join_most_alike likeness");
  }
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return join_most_alike_cuda(context, likeness, groups);
#endif
  std::vector<std::vector<std::int32_t>> list;
  for (std::int64_t t = 0; t < targets; ++t) list.push_back({static_cast<std::int32_t>(t)});
  for (std::int64_t i = 0; i < others; ++i) {
    const auto best = arg_max(std::span(likeness.row<float>(i), static_cast<std::size_t>(targets)));
    list[static_cast<std::size_t>(best)].push_back(static_cast<std::int32_t>(targets + i));
  }
  write(list, groups);
  return {};
}

Status without(Context& context, ConstTensorView all, ConstTensorView some, TensorView rest) {
  FOVEA_CHECK(check_list(context, "without all", all, DType::i32, all.rows()));
  FOVEA_CHECK(check_list(context, "without some", some, DType::i32, some.rows()));
  FOVEA_CHECK(check_list(context, "without rest", rest, DType::i32, all.rows() - some.rows()));
  if (all.rows() == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return without_cuda(context, all, some, rest);
#endif
  const auto* a = all.as<std::int32_t>();
  const auto* b = some.as<std::int32_t>();
  std::vector<std::int32_t> left;
  std::set_difference(a, a + all.rows(), b, b + some.rows(), std::back_inserter(left));
  if (std::ssize(left) != rest.rows()) {
    return make_error(ErrorCode::usage, "numbers that are not among the others")
        .in_field("without some");
  }
  std::copy(left.begin(), left.end(), rest.as<std::int32_t>());
  return {};
}

Status singles_and_groups(Context& context, ConstTensorView singles, ConstTensorView names,
                          const Groups& groups, GroupWeights weigh, TensorView sources,
                          TensorView offsets, TensorView weights) {
  const std::int64_t single = singles.rows(), members = names.rows();
  const std::int64_t count = groups.offsets.rows() - 1;
  FOVEA_CHECK(check_list(context, "singles_and_groups singles", singles, DType::i32, single));
  FOVEA_CHECK(check_list(context, "singles_and_groups names", names, DType::i32, members));
  FOVEA_CHECK(check_groups(context, groups, members));
  const std::int64_t all = single + members;
  FOVEA_CHECK(check_list(context, "singles_and_groups sources", sources, DType::i32, all));
  FOVEA_CHECK(check_list(context, "singles_and_groups weights", weights, DType::f32, all));
  FOVEA_CHECK(
      check_list(context, "singles_and_groups offsets", offsets, DType::i32, single + count + 1));
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) {
    return singles_and_groups_cuda(context, singles, names, groups, weigh, sources, offsets,
                                   weights);
  }
#endif
  auto* const source = sources.as<std::int32_t>();
  auto* const offset = offsets.as<std::int32_t>();
  float* const weight = weights.as<float>();
  std::copy_n(singles.as<std::int32_t>(), single, source);
  std::iota(offset, offset + single, 0);
  std::fill_n(weight, single, 1.0f);
  const auto shift = static_cast<std::int32_t>(single);
  for (std::int64_t g = 0; g <= count; ++g) {
    offset[single + g] = shift + groups.offsets.as<std::int32_t>()[g];
  }
  for (std::int64_t g = 0; g < count; ++g) {
    const std::int32_t begin = offset[single + g], end = offset[single + g + 1];
    const bool mean = weigh == GroupWeights::mean;
    const float share =
        1.0f / static_cast<float>(mean ? end - begin : std::max(end - begin - 1, 1));
    for (std::int32_t s = begin; s < end; ++s) {
      source[s] = names.as<std::int32_t>()[groups.members.as<std::int32_t>()[s - shift]];
      weight[s] = !mean && s == begin ? 1.0f : share;
    }
  }
  return {};
}

}  // namespace fovea
