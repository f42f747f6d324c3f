#pragma once
// ZipVL (arXiv 2410.08584): at every layer a few probe rows say how many tokens carry the
// attention, and the visual tokens beyond them skip that layer's attention. Nothing leaves the
// sequence, and all keys and values stay; keeping the skipped ones at low precision is not offered.

#include <cstdint>
#include <memory>
#include <vector>

#include "pruning/method.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// "0.975" (the default) and "0.96": the share of attention that the tokens taking part must carry.
/// They name no layers or counts: counts follow from the picture and the question.
const std::vector<SchedulePreset>& zipvl_presets();
inline constexpr const char* kZipVlDefaultPreset = "0.975";

class ZipVl final : public ScoringPolicy {
 public:
  /// tau: from 0 to 1; 1 is the run without pruning. `seed` draws the probe rows.
  ZipVl(double tau, std::uint64_t seed) : tau_(tau), seed_(seed) {}
  /// Takes the option tau. Errors: usage for a tau outside [0, 1], and when the request names
  /// layers, counts or a budget (which no tau can meet: every token enters every layer).
  static Result<std::shared_ptr<ZipVl>> make(const MethodRequest& request);
  std::string name() const override { return "zipvl"; }

 protected:
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;
  Status cut(Context& context, int stage_index, StageInput& input, ConstTensorView scores,
             std::int64_t keep, Selection& selection) override;

 private:
  double tau_;
  std::uint64_t seed_;
  std::vector<std::int32_t> probes_;  // prompt positions
  /// Of the stage being run: how many visual tokens carry attention, i32 [1].
  TensorView important_;
};

/// The most recent 5 % of a prompt's positions and as many of the others drawn by lot (as in the
/// same authors' ZipCache; the paper names no numbers), at least one of each where there are two;
/// ascending. The draw is the same on every machine.
std::vector<std::int32_t> probe_positions(std::int64_t tokens, std::uint64_t key);

}  // namespace fovea
