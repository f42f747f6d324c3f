#pragma once
// HiMAP (arXiv 2503.13108): a first cut by what the text looks at, a later one by what the picture
// looks at; both read the map of the layer before.

#include <vector>

#include "pruning/schedule.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// "115-90": before layer 2 keep 115, before layer 8 keep 90.
const std::vector<SchedulePreset>& himap_presets();
inline constexpr const char* kHiMapDefaultPreset = "115-90";

class HiMap final : public ScoringPolicy {
 public:
  explicit HiMap(ScheduleRequest request) : request_(std::move(request)) {}
  std::string name() const override { return "himap"; }

 protected:
  /// Exactly two stages, or one (the first) when the second would keep all. Errors: usage, also
  /// when no text follows the pictures.
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;

 private:
  ScheduleRequest request_;
};

}  // namespace fovea
