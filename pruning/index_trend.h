#pragma once
// How a method's scores grow with a token's index (arXiv 2508.17807): gathered from sample prompts
// while they run, and the exponential that takes the trend out again.

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "pruning/scoring_policy.h"

namespace fovea {

/// Sums the scores of one stage by index, as IndexDebias counts it; changes nothing. Cells that
/// padding covers by more than half draw attention of their own and are left out. Memory grows
/// with the visual tokens of a prompt, not with the prompts. Serves one session at a time.
class ScoreSums final : public ScoreAdjustment {
 public:
  /// Different numbers of visual tokens that are told apart; prompts beyond are left out.
  static constexpr std::size_t kMostLengths = 64;

  explicit ScoreSums(int stage_index = 0) : stage_(stage_index) {}
  Result<std::int64_t> adjust(int stage_index, const StageInput& input,
                              std::span<float> scores) const override;

  struct Mean {
    std::int64_t prompts = 0;   // with this number of visual tokens
    std::vector<double> score;  // by index; not a number where no prompt had one
  };
  /// Of the most frequent number of visual tokens, the lowest among equals. Empty without prompts.
  Mean mean() const;
  /// All prompts that came by.
  std::int64_t prompts() const { return prompts_; }

 private:
  struct Sums {
    std::int64_t prompts = 0;
    std::vector<double> sum;
    std::vector<std::int64_t> count;
  };
  int stage_;
  // adjust() is const for those that only change scores; gathering is this one's purpose.
  mutable std::map<std::size_t, Sums> by_length_;
  mutable std::int64_t prompts_ = 0;
};

struct TrendFit {
  double sigma = 0;      // of mu exp(sigma i / (L - 1)), least squares over the means (the paper's)
  double sigma_log = 0;  // of a straight line through their logarithms
  /// Share of the means' variance that the least-squares exponential explains.
  double explained = 0;
};

/// mean: by index, L of them; indices whose mean is not a number are left out, in the second fit
/// also those of 0. Errors: usage with fewer than 2 indices, where no mean is above 0, and where
/// the best sigma lies outside -50 to 50.
Result<TrendFit> fit_trend(std::span<const double> mean);

}  // namespace fovea
