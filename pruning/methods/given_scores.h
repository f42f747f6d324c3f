#pragma once
// A ranking made elsewhere: one score for each visual token of the prompt, the best are kept.

#include <vector>

#include "pruning/schedule.h"
#include "pruning/scoring_policy.h"

namespace fovea {

class GivenScores final : public ScoringPolicy {
 public:
  /// scores: by token id, higher is kept. The schedule's presets are those of the baselines.
  GivenScores(ScheduleRequest request, std::vector<float> scores)
      : request_(std::move(request)), scores_(std::move(scores)) {}
  std::string name() const override { return "given_scores"; }

 protected:
  /// Errors: usage unless there is a number for each visual token of the prompt, and those of
  /// resolve_schedule().
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;

 private:
  ScheduleRequest request_;
  std::vector<float> scores_;
};

}  // namespace fovea
