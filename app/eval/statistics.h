#pragma once
// Sums over outcomes, and how far they can be trusted: intervals by resampling pictures.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/eval/outcome.h"

namespace fovea::app {

struct Interval {
  double low = 0, high = 0;
};

/// Mean score over the questions that count.
struct Accuracy {
  std::int64_t questions = 0;
  double score = 0;  // sum
  std::optional<Interval> interval;

  std::optional<double> value() const {
    if (questions == 0) return std::nullopt;
    return score / static_cast<double>(questions);
  }
};

/// Intervals that hold 95 % of the means of resampled questions. Whole clusters are drawn, with
/// replacement and as many as there are: questions about one picture share its difficulty.
class Bootstrap {
 public:
  /// clusters: one number from 0 to count - 1 a question. The draws depend on the seed alone, so
  /// that settings are compared over the same draws.
  Bootstrap(std::vector<std::size_t> clusters, std::size_t count, int resamples,
            std::uint64_t seed);

  /// values: one a question; those that do not count are left out. None where nothing counts.
  std::optional<Interval> interval(const std::vector<std::optional<double>>& values) const;

 private:
  std::vector<std::size_t> clusters_;
  std::size_t count_;
  std::vector<std::vector<std::uint32_t>> draws_;  // per resample: how often each cluster came
};

/// Cluster of each question: its pictures; a text question stands alone. Returns their number.
std::size_t picture_clusters(const std::vector<EvalItem>& items,
                             std::vector<std::size_t>& clusters);

/// Questions that are looked at together: one category, one size of evidence, one band of rows.
struct Group {
  enum class Kind { category, evidence, evidence_size, evidence_row };
  Kind kind = Kind::category;
  std::string name;
  std::string note;  // "1 to 4 cells"
  std::vector<std::size_t> items;
};

/// The token grid of one picture: tokens of a picture, class token included where the model passes
/// it on, and rows.
struct TokenGrid {
  std::int64_t tokens = 0;
  std::int64_t side = 0;
};

/// Categories by name; then, where questions have evidence: all of those, thirds by its size
/// (small, medium, large: cut between sizes, so that equal sizes stay together), and thirds of the
/// picture by the mean row of its cells (top, middle, bottom).
std::vector<Group> make_groups(const std::vector<EvalItem>& items, const TokenGrid& grid);

/// What one setting came to.
struct Summary {
  Accuracy all;
  std::vector<Accuracy> groups;        // as make_groups() gave them
  std::optional<Interval> difference;  // of the accuracy to the first setting's
  std::optional<double> difference_value;
  std::int64_t right = 0, failed = 0, ran = 0;
  // Means and medians over the questions that the model answered; tokens and evidence over those
  // with pictures.
  std::optional<double> equivalent, entering_mean, first_token_ms, total_ms, exit_rate;
  std::optional<double> guide_entering, evidence_kept, evidence_kept_last, padding_share;
};

/// `first`: outcomes of the setting to compare with, or null.
Summary summarise(const std::vector<Outcome>& outcomes, const std::vector<Outcome>* first,
                  const std::vector<Group>& groups, const Bootstrap& bootstrap);

}  // namespace fovea::app
