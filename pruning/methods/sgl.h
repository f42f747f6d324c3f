#pragma once
// SGL (arXiv 2412.03324): a small model of the same family reads the prompt and answers first; the
// attention its text paid to each visual token, summed over all layers and heads, ranks the tokens
// of the large model, which cuts once and computes no statistics of its own.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pruning/method.h"
#include "pruning/schedule.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// Where the large model cuts, in fractions as published: before layer int(layer x layers) keep
/// int(ratio x visual tokens). None: the preset's.
struct SglCut {
  std::optional<double> layer, ratio;  // from 0 to 1
};

/// What decides whether the guide's answer is good enough to spare the large model.
enum class ExitBy {
  score,       // mean of confidence and consistency (the method)
  confidence,  // confidence alone, which needs no second pass
  random,      // a number drawn from the prompt and a seed: a yardstick
};

/// The method's own options.
struct SglOptions {
  SglCut cut;
  /// Prompt rows of the guide that make a token important: RowSet::text (the paper's set) or
  /// RowSet::from_last_visual (the released code's).
  RowSet rows = RowSet::text;
  ExitBy exit_by = ExitBy::score;
  std::optional<double> exit_threshold;  // exits where the deciding number is above; none: never
  /// Weights of the guide that the threshold was calibrated for; empty: nobody says.
  std::string guide_sha256;
};

/// Reads guide-layer, guide-ratio, guide-rows, exit-by and exit-threshold; a calibration file
/// (exit_calibration_file.h) says the last two where the options say neither. Errors: usage for
/// what is no fraction or no number, those of read_exit_calibration().
Result<SglOptions> read_sgl_options(const MethodRequest& request);

/// Says how the cut of a request comes about on a model: "before layer int(0.4 x 12) keep int(0.4 x
/// 576)", without what the request's own layers, counts or budget replace; may be empty.
std::string sgl_rule(const MethodRequest& request, int layers, std::int64_t visual);

/// What a guide found out about a prompt.
struct GuideRanking {
  std::vector<float> importance;    // by visual token id; higher is kept
  std::vector<VisualToken> tokens;  // of the guide's prompt, by id
};

/// The published points, named after the share of token-layers they retain: "64", "35", "9" (layer
/// and ratio 0.4, 0.2, 0.05), as counts for the published 48 layers and 576 tokens.
const std::vector<SchedulePreset>& sgl_presets();
inline constexpr const char* kSglDefaultPreset = "64";

class Sgl final : public ScoringPolicy {
 public:
  Sgl(ScheduleRequest request, SglCut cut) : request_(std::move(request)), cut_(cut) {}
  /// Errors: those of read_sgl_options().
  static Result<std::shared_ptr<Sgl>> make(const MethodRequest& request);
  std::string name() const override { return "sgl"; }

  /// The ranking of the prompt that is planned next.
  void rank_by(std::shared_ptr<const GuideRanking> ranking) { ranking_ = std::move(ranking); }

 protected:
  /// The cut's fractions stand in for those of the preset; a schedule's own layers, counts or
  /// budget come before both. Errors: usage without a ranking, for one of another number of tokens
  /// or of tokens that show other parts of the pictures, and those of resolve_schedule().
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;

 private:
  Status check_ranking(const SequenceLayout& layout) const;

  ScheduleRequest request_;
  SglCut cut_;
  std::shared_ptr<const GuideRanking> ranking_;
};

}  // namespace fovea
