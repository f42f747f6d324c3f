#pragma once
// VisionZip (arXiv 2412.04467): in the vision tower, at the layer that feeds the projector, keeps
// the patches that the class token attends to, the class token itself, and a few merged tokens that
// stand for the rest. The question plays no part, so the decoder may prune on.

#include <optional>
#include <vector>

#include "pruning/method.h"

namespace fovea {

/// Named after the tokens that reach the projector, class token included: "221" (191 dominant and
/// 30 contextual: the published default), "192" (162 and 30), "128" (108 and 20), "64" (54 and 10).
const std::vector<SchedulePreset>& visionzip_presets();
inline constexpr const char* kVisionZipDefaultPreset = "221";

/// How many tokens a request leaves of a tower's patches.
struct VisionZipSplit {
  std::int64_t dominant = 0;    // the class token among them
  std::int64_t contextual = 0;  // merged

  std::int64_t kept() const { return dominant + contextual; }
};

/// contextual: as asked for; none: the preset's, else 10 of 64 as in all published settings but the
/// default. Nothing when all patches are kept. Errors: usage (a layer is named; no room for the
/// class token), and those of resolve_schedule().
Result<std::optional<VisionZipSplit>> split_tokens(const ScheduleRequest& request,
                                                   std::optional<std::int64_t> contextual,
                                                   std::int64_t patches);

/// A policy of the vision tower: its plan is made for the tower's tokens, and `keep` counts all
/// tokens that reach the projector.
class VisionZip final : public Policy {
 public:
  /// contextual: as in split_tokens().
  VisionZip(ScheduleRequest request, std::optional<std::int64_t> contextual)
      : request_(std::move(request)), contextual_(contextual) {}
  /// Takes the option contextual. Errors: usage for what is no count.
  static Result<std::shared_ptr<Policy>> make(const MethodRequest& request);

  std::string name() const override { return "visionzip"; }
  bool in_vision_tower() const override { return true; }
  /// One stage after the last block that runs. Errors: those of split_tokens().
  Result<PruningPlan> plan(const SequenceLayout& layout, const ModelShape& shape) override;
  bool selects_on_device(const SequenceLayout&) const override { return true; }
  /// Survivors: the class token, the dominant patches in raster order, then the contextual tokens,
  /// each with its target first among its sources. Errors: unsupported without a class token.
  Status select(Context& context, int stage_index, StageInput& input,
                Selection& selection) override;

 private:
  ScheduleRequest request_;
  std::optional<std::int64_t> contextual_;
  VisionZipSplit split_;  // of the plan
};

}  // namespace fovea
