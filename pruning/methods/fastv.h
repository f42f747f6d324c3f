#pragma once
// FastV (arXiv 2403.06764): before layer K, the attention of layer K - 1 from the last prompt
// token, averaged over heads, ranks the visual tokens; one cut.

#include <vector>

#include "pruning/schedule.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// "50" (K = 2, half of the tokens: the published default), "75", "90" (per cent dropped), and
/// "128".
const std::vector<SchedulePreset>& fastv_presets();
inline constexpr const char* kFastVDefaultPreset = "50";

class FastV final : public ScoringPolicy {
 public:
  explicit FastV(ScheduleRequest request) : request_(std::move(request)) {}
  std::string name() const override { return "fastv"; }

 protected:
  /// Errors: usage for layer 0 (no attention precedes it), and those of resolve_schedule().
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;

 private:
  ScheduleRequest request_;
};

}  // namespace fovea
