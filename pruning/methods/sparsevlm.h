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
  std::vector<float> raters_;  // per text token: 1 / number of raters, or 0
};

/// Share of every text token in the rating: 1 / raters for raters, 0 for others. For each visual
/// token a softmax over text tokens of the plain dot products, averaged over visual tokens; text
/// tokens above the mean are raters, or all where none is. text: f32 [t, d], t >= 1; visual: f32
/// [m, d].
Result<std::vector<float>> rater_shares(Context& context, ConstTensorView text,
                                        ConstTensorView visual);

/// How many of `dropped` tokens version 1 recycles (the best 30 %, and one), and into how many.
std::int64_t recycled_tokens(std::int64_t dropped);
std::int64_t recycled_groups(std::int64_t dropped);

/// Density-peak clustering of the rows of x (f32 [n, d]) into `groups` <= n: distance |a - b| /
/// sqrt(d); density exp(-mean of the squared distances to the `groups` nearest, itself among them);
/// centres are the rows whose density times the distance to the nearest denser row (to the farthest
/// of all rows for the densest) is largest; every other row joins the nearest centre. Among equals
/// the lower index is denser, first chosen, and nearer. Groups come best centre first, each with
/// its centre first and its other rows ascending.
std::vector<std::vector<std::int32_t>> density_peak_groups(ConstTensorView x, std::int64_t groups);

/// What rotary positions alone make of attention at distances 0 .. count - 1: the product of two
/// rotated vectors of ones, divided by sqrt(head_dim). At least 1/16 of its value at distance 0,
/// because the cosines of small heads cross zero (those of 128 channels only past a thousand
/// positions).
std::vector<float> distance_weights(std::int64_t count, std::int64_t head_dim, double rope_theta);

/// Heads that version 2 listens to: 14 of 32, in a model of H heads round(14 H / 32), at least 1.
int listened_heads(int heads);

}  // namespace fovea
