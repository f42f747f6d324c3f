#pragma once
// AdaptInfer (arXiv 2508.06084): at each stage every text token is weighted by how strongly it is
// tied to the other text tokens at that layer, and the weighted attention of text to vision ranks
// the visual tokens. Cuts fall after the layers named.

#include <vector>

#include "pruning/schedule.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// How text rows are weighted; all but text_prior are ablations.
enum class TextWeighting {
  text_prior,  // w[h, j] = column sum + row sum - diagonal of text-to-text attention (the method)
  uniform,     // every text row alike
  last_row,    // the last prompt token alone
};

/// Published layers and counts: 128, 64, 48, 32 for 32 layers; 128-13b and 64-13b for 40.
const std::vector<SchedulePreset>& adaptinfer_presets();
inline constexpr const char* kAdaptInferDefaultPreset = "64";

class AdaptInfer final : public ScoringPolicy {
 public:
  AdaptInfer(ScheduleRequest request, TextWeighting weighting)
      : request_(std::move(request)), weighting_(weighting) {}
  std::string name() const override { return "adaptinfer"; }

 protected:
  /// Errors: usage when no text follows the pictures (the method needs a question to read), and
  /// those of resolve_schedule().
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;

 private:
  ScheduleRequest request_;
  TextWeighting weighting_;
};

}  // namespace fovea
