#include "vision/attention_statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "vision/attention_tiles.h"

namespace fovea {

double AttentionNmi::add_row(std::span<const float> probabilities) {
  double entropy = 0;
  for (std::size_t key = 0; key < probabilities.size(); ++key) {
    const double p = probabilities[key];
    sums_[key] += p;
    if (p > 0) entropy -= p * std::log(p);
  }
  entropy_ += entropy;
  ++rows_;
  return entropy;
}

std::vector<float> AttentionNmi::received() const {
  std::vector<float> means;
  for (const double sum : sums_) {
    means.push_back(
        static_cast<float>(sum / static_cast<double>(std::max<std::int64_t>(1, rows_))));
  }
  return means;
}

double AttentionNmi::value() const {
  if (rows_ < 2) return 0.0;
  const auto queries = static_cast<double>(rows_);
  double key_entropy = 0;
  for (const double sum : sums_) {
    const double p = sum / queries;
    if (p > 0) key_entropy -= p * std::log(p);
  }
  if (!(key_entropy > 0)) return 0.0;
  // Rounding can leave a little below zero where all rows are alike.
  const double information = std::max(0.0, key_entropy - entropy_ / queries);
  return information / std::sqrt(std::log(queries) * key_entropy);
}

AttentionReach reach_of(double nmi, const ReachThresholds& thresholds) {
  if (nmi > thresholds.local_above) return AttentionReach::local;
  return nmi < thresholds.global_below ? AttentionReach::global : AttentionReach::hybrid;
}

const char* reach_name(AttentionReach reach) {
  switch (reach) {
    case AttentionReach::local:
      return "local";
    case AttentionReach::hybrid:
      return "hybrid";
    case AttentionReach::global:
      return "global";
  }
  return "?";
}

double AttentionStatistics::mean_nmi() const {
  return std::accumulate(nmi.begin(), nmi.end(), 0.0) / static_cast<double>(nmi.size());
}

Result<AttentionStatistics> attention_statistics(Context& context, const VitBlockView& block,
                                                 std::int64_t picture,
                                                 std::int64_t special_tokens) {
  const VitPictureView view = picture_view(block, picture);
  AttentionStatistics statistics;
  statistics.heads = view.query.shape[1];
  statistics.tokens = view.query.shape[0];
  const std::int64_t counted = statistics.tokens - special_tokens;
  if (special_tokens < 0 || counted < 1) {
    return make_error(ErrorCode::usage, "of " + std::to_string(statistics.tokens) +
                                            " tokens, the first " + std::to_string(special_tokens) +
                                            " cannot be left out");
  }
  const auto width = static_cast<std::size_t>(statistics.tokens);
  const std::size_t all = static_cast<std::size_t>(statistics.heads) * width;
  statistics.class_row.resize(all);
  statistics.received.resize(all, 0.0F);
  statistics.entropy.resize(all, 0.0F);
  std::vector<AttentionNmi> nmi(static_cast<std::size_t>(statistics.heads), AttentionNmi(counted));
  std::vector<float> rest(static_cast<std::size_t>(counted));

  const auto visit = [&](std::int64_t first, std::int64_t count, ConstTensorView tile) -> Status {
    for (std::size_t head = 0; head < nmi.size(); ++head) {
      const float* rows = tile.row<float>(static_cast<std::int64_t>(head));
      for (std::int64_t r = 0; r < count; ++r, rows += width) {
        if (first + r == 0) std::copy_n(rows, width, &statistics.class_row[head * width]);
        if (first + r < special_tokens) continue;
        const float* kept = rows + special_tokens;
        double total = 1.0;
        if (special_tokens > 0) total = std::accumulate(kept, rows + width, 0.0);
        for (std::size_t key = 0; key < rest.size(); ++key) {
          rest[key] = total > 0 ? static_cast<float>(kept[key] / total) : 0.0F;
        }
        statistics.entropy[head * width + static_cast<std::size_t>(first + r)] =
            static_cast<float>(nmi[head].add_row(rest));
      }
    }
    return {};
  };
  FOVEA_CHECK(visit_attention(context, view.query, view.key, view.lse, block.scale,
                              statistics.tokens, visit));
  for (std::size_t head = 0; head < nmi.size(); ++head) {
    std::ranges::copy(
        nmi[head].received(),
        statistics.received.begin() + static_cast<std::ptrdiff_t>(head * width) + special_tokens);
    statistics.nmi.push_back(nmi[head].value());
  }
  return statistics;
}

}  // namespace fovea
