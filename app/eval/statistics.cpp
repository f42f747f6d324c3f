#include "app/eval/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "app/eval/random.h"
#include "app/text.h"

namespace fovea::app {
namespace {

constexpr double kTail = 0.025;

/// Value at the share `at` of sorted numbers, between two of them where it falls so.
double quantile(const std::vector<double>& sorted, double at) {
  const double place = at * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = place - static_cast<double>(below);
  return (1 - part) * sorted[below] + part * sorted[above];
}

std::optional<double> mean(const std::vector<double>& values) {
  if (values.empty()) return std::nullopt;
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  return quantile(values, 0.5);
}

/// Row of a visual token in its picture's grid; a class token has none.
std::optional<std::int64_t> row_of(std::int32_t id, const TokenGrid& grid) {
  const std::int64_t cell = id % grid.tokens - (grid.tokens - grid.side * grid.side);
  if (cell < 0) return std::nullopt;
  return cell / grid.side;
}

void add_size_groups(const std::vector<EvalItem>& items, std::vector<Group>& groups) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].has_evidence()) order.push_back(i);
  }
  const auto size = [&](std::size_t item) { return items[item].evidence->size(); };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return size(a) < size(b); });
  std::size_t begin = 0;
  constexpr std::array<const char*, 3> names{"small", "medium", "large"};
  for (std::size_t third = 0; third < names.size() && begin < order.size(); ++third) {
    std::size_t end = std::max(begin + 1, order.size() * (third + 1) / names.size());
    while (end < order.size() && size(order[end]) == size(order[end - 1])) ++end;
    const std::size_t least = size(order[begin]), most = size(order[end - 1]);
    Group group{Group::Kind::evidence_size, names[third], format("%zu cells", most), {}};
    if (least < most) group.note = format("%zu to %zu cells", least, most);
    group.items.assign(order.begin() + static_cast<std::ptrdiff_t>(begin),
                       order.begin() + static_cast<std::ptrdiff_t>(end));
    std::sort(group.items.begin(), group.items.end());
    groups.push_back(std::move(group));
    begin = end;
  }
}

void add_row_groups(const std::vector<EvalItem>& items, const TokenGrid& grid,
                    std::vector<Group>& groups) {
  std::array<Group, 3> bands{{{Group::Kind::evidence_row, "top", "of the picture", {}},
                              {Group::Kind::evidence_row, "middle", "of the picture", {}},
                              {Group::Kind::evidence_row, "bottom", "of the picture", {}}}};
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!items[i].has_evidence()) continue;
    double sum = 0;
    std::int64_t cells = 0;
    for (const std::int32_t id : *items[i].evidence) {
      if (const auto row = row_of(id, grid)) {
        sum += static_cast<double>(*row) + 0.5;  // its middle
        ++cells;
      }
    }
    if (cells == 0) continue;
    const double place = sum / static_cast<double>(cells) / static_cast<double>(grid.side);
    bands[std::min<std::size_t>(2, static_cast<std::size_t>(3 * place))].items.push_back(i);
  }
  for (Group& band : bands) groups.push_back(std::move(band));
}

}  // namespace

Bootstrap::Bootstrap(std::vector<std::size_t> clusters, std::size_t count, int resamples,
                     std::uint64_t seed)
    : clusters_(std::move(clusters)), count_(count) {
  RandomStream random(seed);
  for (int b = 0; b < resamples; ++b) {
    std::vector<std::uint32_t> times(count, 0);
    for (std::size_t draw = 0; draw < count; ++draw) ++times[random.below(count)];
    draws_.push_back(std::move(times));
  }
}

std::optional<Interval> Bootstrap::interval(
    const std::vector<std::optional<double>>& values) const {
  std::vector<double> sums(count_, 0), numbers(count_, 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!values[i]) continue;
    sums[clusters_[i]] += *values[i];
    numbers[clusters_[i]] += 1;
  }
  std::vector<double> means;
  for (const auto& times : draws_) {
    double sum = 0, number = 0;
    for (std::size_t c = 0; c < count_; ++c) {
      sum += times[c] * sums[c];
      number += times[c] * numbers[c];
    }
    if (number > 0) means.push_back(sum / number);
  }
  if (means.empty()) return std::nullopt;
  std::sort(means.begin(), means.end());
  return Interval{quantile(means, kTail), quantile(means, 1 - kTail)};
}

std::size_t picture_clusters(const std::vector<EvalItem>& items,
                             std::vector<std::size_t>& clusters) {
  std::map<std::vector<std::string>, std::size_t> known;
  std::size_t count = 0;
  clusters.clear();
  for (const EvalItem& item : items) {
    if (item.images.empty()) {
      clusters.push_back(count++);
      continue;
    }
    const auto [place, fresh] = known.emplace(item.images, count);
    if (fresh) ++count;
    clusters.push_back(place->second);
  }
  return count;
}

std::vector<Group> make_groups(const std::vector<EvalItem>& items, const TokenGrid& grid) {
  std::map<std::string, Group> categories;
  Group evidence{Group::Kind::evidence, "evidence", "named", {}};
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!items[i].category.empty()) {
      Group& group = categories[items[i].category];
      group.name = items[i].category;
      group.items.push_back(i);
    }
    if (items[i].has_evidence()) evidence.items.push_back(i);
  }
  std::vector<Group> groups;
  for (auto& [name, group] : categories) groups.push_back(std::move(group));
  if (evidence.items.empty()) return groups;
  groups.push_back(std::move(evidence));
  add_size_groups(items, groups);
  add_row_groups(items, grid, groups);
  return groups;
}

Summary summarise(const std::vector<Outcome>& outcomes, const std::vector<Outcome>* first,
                  const std::vector<Group>& groups, const Bootstrap& bootstrap) {
  const auto accuracy_of = [&](auto&& is_member) {
    Accuracy accuracy;
    std::vector<std::optional<double>> values(outcomes.size());
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      if (!is_member(i) || !outcomes[i].counts()) continue;
      values[i] = outcomes[i].score;
      accuracy.score += outcomes[i].score;
      ++accuracy.questions;
    }
    accuracy.interval = bootstrap.interval(values);
    return accuracy;
  };
  Summary summary;
  summary.all = accuracy_of([](std::size_t) { return true; });
  for (const Group& group : groups) {
    const std::set<std::size_t> members(group.items.begin(), group.items.end());
    summary.groups.push_back(accuracy_of([&](std::size_t i) { return members.contains(i); }));
  }
  if (first != nullptr) {
    std::vector<std::optional<double>> differences(outcomes.size());
    std::vector<double> counted;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      if (!outcomes[i].counts() || !(*first)[i].counts()) continue;
      differences[i] = outcomes[i].score - (*first)[i].score;
      counted.push_back(*differences[i]);
    }
    summary.difference_value = mean(counted);
    summary.difference = bootstrap.interval(differences);
  }

  std::vector<double> equivalent, entering, first_token, total, exited, guide, kept, last, padding;
  for (const Outcome& outcome : outcomes) {
    summary.failed += outcome.state == Outcome::State::failed ? 1 : 0;
    summary.right += outcome.counts() && outcome.score >= 1.0 ? 1 : 0;
    if (!outcome.ran) continue;
    ++summary.ran;
    first_token.push_back(outcome.first_token_ms);
    total.push_back(outcome.total_ms);
    exited.push_back(outcome.exited ? 1 : 0);
    if (outcome.visual > 0) {
      equivalent.push_back(outcome.equivalent);
      entering.push_back(outcome.entering_mean);
    }
    if (outcome.guide_entering && outcome.visual > 0) guide.push_back(*outcome.guide_entering);
    if (outcome.evidence_kept) kept.push_back(*outcome.evidence_kept);
    if (outcome.evidence_kept_last) last.push_back(*outcome.evidence_kept_last);
    if (outcome.padding_share) padding.push_back(*outcome.padding_share);
  }
  summary.equivalent = mean(equivalent);
  summary.entering_mean = mean(entering);
  summary.first_token_ms = median(first_token);
  summary.total_ms = median(total);
  summary.exit_rate = mean(exited);
  summary.guide_entering = mean(guide);
  summary.evidence_kept = mean(kept);
  summary.evidence_kept_last = mean(last);
  summary.padding_share = mean(padding);
  return summary;
}

}  // namespace fovea::app
