#pragma once
// AdaptInfer (arXiv 2508.06084): at each stage every text token is weighted by how strongly it is
// tied to the other text tokens at that layer, and the weighted attention of text to vision ranks
// the visual tokens. Cuts fall after the layers named.

#include <memory>
#include <vector>

#include "pruning/method.h"
#include "pruning/schedule_calibration.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// How text rows are weighted; all but text_prior are ablations.
enum class TextWeighting {
  text_prior,  // w[h, j] = column sum + row sum - diagonal of text-to-text attention (the method)
  uniform,     // every text row alike
  last_row,    // the last prompt token alone
};

/// Where the cuts lie; even is an ablation.
enum class CutLayers {
  calibrated,  // where the preset, or a calibrated schedule, has them (the method)
  even,        // as many, after layers that divide the model into equal parts
};

/// Published layers and counts: 128, 64, 48, 32 for 32 layers; 128-13b and 64-13b for 40.
const std::vector<SchedulePreset>& adaptinfer_presets();
inline constexpr const char* kAdaptInferDefaultPreset = "64";

class AdaptInfer final : public ScoringPolicy {
 public:
  /// `schedule`: null where the presets hold.
  AdaptInfer(ScheduleRequest request, TextWeighting weighting, CutLayers cuts = {},
             std::shared_ptr<const ScheduleCalibration> schedule = {})
      : request_(std::move(request)),
        weighting_(weighting),
        cuts_(cuts),
        schedule_(std::move(schedule)) {}
  /// Reads the schedule that request.config names, and the method's own options. Errors: those of
  /// read_schedule_calibration().
  static Result<std::shared_ptr<AdaptInfer>> make(const MethodRequest& request);
  std::string name() const override { return "adaptinfer"; }

 protected:
  /// Errors: usage when no text follows the pictures (the method needs a question to read), when
  /// both a preset and a schedule are named, or own layers beside even ones; those of
  /// calibrated_stages() and resolve_schedule().
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;

 private:
  Result<std::vector<ScheduleStage>> stages(int layers, std::int64_t visual) const;

  ScheduleRequest request_;
  TextWeighting weighting_;
  CutLayers cuts_;
  std::shared_ptr<const ScheduleCalibration> schedule_;
};

}  // namespace fovea
