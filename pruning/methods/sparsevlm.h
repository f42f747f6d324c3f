#pragma once
// SparseVLM (arXiv 2410.04417): a few words of the prompt, chosen once by what they have in common
// with the picture, rate the visual tokens after three layers. Version 1 merges part of what it
// drops into a few tokens ("recycling"); version 2 listens to the heads that look at the picture
// most, takes the distance out of their attention, and recycles nothing.

#include <cstdint>
#include <span>
#include <vector>

#include "pruning/schedule.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// "192" (the default), "128", "96" and "64": mean counts after layers 2, 6 and 15 of 32, by tables
/// of each version's own.
const std::vector<SchedulePreset>& sparsevlm_presets();     // version 1
const std::vector<SchedulePreset>& sparsevlm_v2_presets();  // version 2
inline constexpr const char* kSparseVlmDefaultPreset = "192";

enum class SparseVlmVersion { v1, v2 };

class SparseVlm final : public ScoringPolicy {
 public:
  SparseVlm(ScheduleRequest request, SparseVlmVersion version)
      : request_(std::move(request)), version_(version) {}
  std::string name() const override { return "sparsevlm"; }
  /// Chooses the raters.
  Status read_embeddings(Context& context, StageInput& input) override;

 protected:
  /// Errors: usage when no text follows the pictures, and those of resolve_schedule().
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;
  Status cut(Context& context, int stage_index, StageInput& input, ConstTensorView scores,
             std::int64_t keep, Selection& selection) override;

 private:
  Result<TensorView> score_v1(Context& context, StageInput& input) const;
  Result<TensorView> score_v2(Context& context, StageInput& input) const;

  ScheduleRequest request_;
  SparseVlmVersion version_;
  ModelShape shape_;
  Tensor raters_;  // f32, per text token: 1 / number of raters, or 0; where the selection is made
};

/// How many of `dropped` tokens version 1 recycles (the best 30 %, and one), and into how many.
std::int64_t recycled_tokens(std::int64_t dropped);
std::int64_t recycled_groups(std::int64_t dropped);

/// What rotary positions alone make of attention at distances 0 .. count - 1: the product of two
/// rotated vectors of ones, divided by sqrt(head_dim). At least 1/16 of its value at distance 0,
/// because the cosines of small heads cross zero (those of 128 channels only past a thousand
/// positions).
std::vector<float> distance_weights(std::int64_t count, std::int64_t head_dim, double rope_theta);

/// Heads that version 2 listens to: 14 of 32, in a model of H heads round(14 H / 32), at least 1.
int listened_heads(int heads);

}  // namespace fovea
