#pragma once
// The scores by which a method cut, written down as they are.

#include <cstdint>
#include <vector>

#include "pruning/scoring_policy.h"

namespace fovea {

/// Put behind a request's other adjustments, it keeps what the cut is made by, and changes nothing.
/// Serves one session at a time.
class ScoreRecord final : public ScoreAdjustment {
 public:
  struct Stage {
    int index = 0;              // among the plan's stages
    std::vector<float> scores;  // by token id; not a number for tokens that are no longer there
  };

  Result<std::int64_t> adjust(int stage_index, const StageInput& input,
                              std::span<float> scores) const override;
  const std::vector<Stage>& stages() const { return stages_; }
  void clear() { stages_.clear(); }

 private:
  // adjust() is const for those that only change scores; writing down is this one's purpose.
  mutable std::vector<Stage> stages_;
};

}  // namespace fovea
