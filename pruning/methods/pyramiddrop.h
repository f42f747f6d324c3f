#pragma once
// PyramidDrop (arXiv 2410.17247): before each stage's layer, that layer's own attention from the
// last prompt token, averaged over heads, ranks the visual tokens. Several pictures are ranked and
// cut one by one, each to the same share of its tokens.

#include <vector>

#include "pruning/schedule.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// "0.5" (before layers 8, 16 and 24 of 32 keep a half, a quarter and an eighth of the original
/// count: the published default) and "strong" (before layers 2, 10 and 20 keep .32, .16 and .08).
const std::vector<SchedulePreset>& pyramiddrop_presets();
inline constexpr const char* kPyramidDropDefaultPreset = "0.5";

class PyramidDrop final : public ScoringPolicy {
 public:
  explicit PyramidDrop(ScheduleRequest request) : request_(std::move(request)) {}
  std::string name() const override { return "pyramiddrop"; }

 protected:
  /// Errors: those of resolve_schedule().
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;
  Status cut(Context& context, int stage_index, StageInput& input, ConstTensorView scores,
             std::int64_t keep, Selection& selection) override;

 private:
  ScheduleRequest request_;
};

/// `total` tokens shared out over pictures in proportion to their sizes: whole shares first, then
/// one each by the largest remainder, the earlier picture first. The result sums to `total`, and no
/// share is above its size when total is at most the sum of the sizes.
std::vector<std::int64_t> proportional_shares(std::int64_t total,
                                              const std::vector<std::int64_t>& sizes);

}  // namespace fovea
