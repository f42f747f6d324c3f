#pragma once
// A ranking made elsewhere: one score for each visual token of the prompt, the best are kept.

#include <memory>
#include <vector>

#include "pruning/method.h"
#include "pruning/scoring_policy.h"

namespace fovea {

class GivenScores final : public ScoringPolicy {
 public:
  /// scores: by token id, higher is kept. The schedule's presets are those of the baselines.
  GivenScores(ScheduleRequest request, std::vector<float> scores)
      : request_(std::move(request)), scores_(std::move(scores)) {}
  /// Scores from the .npy file that request.config names, of one axis. Errors: those of read_npy(),
  /// and bad_input for more axes.
  static Result<std::shared_ptr<Policy>> make(const MethodRequest& request);
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
