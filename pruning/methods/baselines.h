#pragma once
// Choices that look at nothing: the yardsticks every method is measured by.

#include <cstdint>
#include <vector>

#include "pruning/schedule.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// "64" and the like: one cut before layer 0, so that no layer pays for what is dropped.
const std::vector<SchedulePreset>& baseline_presets();
inline constexpr const char* kBaselineDefaultPreset = "64";

/// The schedule of a choice that reads nothing of the model: cuts before the layers named, positions
/// original. Errors: those of resolve_schedule().
Result<PruningPlan> baseline_plan(const ScheduleRequest& request, const SequenceLayout& layout,
                                  const ModelShape& shape);

/// Keeps tokens drawn without replacement. The draw depends on the seed and the prompt, and is the
/// same on every machine; a later stage keeps a subset of an earlier one.
class RandomChoice final : public ScoringPolicy {
 public:
  RandomChoice(ScheduleRequest request, std::uint64_t seed)
      : request_(std::move(request)), seed_(seed) {}
  std::string name() const override { return "random"; }
  bool takes_adjustments() const override { return false; }

 protected:
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;

 private:
  ScheduleRequest request_;
  std::uint64_t seed_;
};

/// Keeps tokens at even distances in prompt order: index floor((i + 1/2) m / k) of the m present.
class UniformChoice final : public ScoringPolicy {
 public:
  explicit UniformChoice(ScheduleRequest request) : request_(std::move(request)) {}
  std::string name() const override { return "uniform"; }
  bool takes_adjustments() const override { return false; }

 protected:
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;

 private:
  ScheduleRequest request_;
};

}  // namespace fovea
