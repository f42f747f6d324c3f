#pragma once
// DivPrune (arXiv 2503.02175): before the decoder, keeps the visual tokens that are least alike.
// No attention and no question: the same picture always keeps the same tokens.

#include <vector>

#include "pruning/policy.h"
#include "pruning/schedule.h"

namespace fovea {

/// "9.8" (per cent kept: the published default), and counts of tokens.
const std::vector<SchedulePreset>& divprune_presets();
inline constexpr const char* kDivPruneDefaultPreset = "9.8";

class DivPrune final : public Policy {
 public:
  explicit DivPrune(ScheduleRequest request) : request_(std::move(request)) {}
  std::string name() const override { return "divprune"; }
  /// One stage on the embedded prompt; positions are compact, as though the picture had k tokens.
  /// Errors: usage when a layer other than 0 is named, and those of resolve_schedule().
  Result<PruningPlan> plan(const SequenceLayout& layout, const ModelShape& shape) override;
  bool selects_on_device(const SequenceLayout&) const override { return true; }
  Status select(Context& context, int stage_index, StageInput& input,
                Selection& selection) override;

 private:
  ScheduleRequest request_;
  std::int64_t keep_ = 0;
};

}  // namespace fovea
