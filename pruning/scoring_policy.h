#pragma once
// The common half of every method that ranks tokens by a score and keeps the best.

#include <memory>
#include <span>
#include <vector>

#include "pruning/policy.h"

namespace fovea {

/// Changes a ranking before it is cut (debiasing, a user's mask).
class ScoreAdjustment {
 public:
  virtual ~ScoreAdjustment() = default;
  /// scores: one per visual token present, in the order of input.visual_ids(). Returns the number
  /// of tokens that may be kept at most (fewer than are present when some are masked out).
  virtual Result<std::int64_t> adjust(int stage_index, const StageInput& input,
                                      std::span<float> scores) const = 0;
  /// The same adjustment where it does not depend on the scores, so that they may stay on a GPU;
  /// null: it does, and adjust() gets them on the host.
  virtual const class FactorAdjustment* by_factors() const { return nullptr; }
};

/// Multiplies every score by a number of its own.
class FactorAdjustment : public ScoreAdjustment {
 public:
  struct Factors {
    /// One per visual token present, as scale_scores() takes them; empty: all scores stay.
    std::vector<double> factors;
    std::int64_t allowed = 0;  // what adjust() returns
  };
  virtual Result<Factors> factors(int stage_index, const StageInput& input) const = 0;
  Result<std::int64_t> adjust(int stage_index, const StageInput& input,
                              std::span<float> scores) const final;
  const FactorAdjustment* by_factors() const final { return this; }
};

class ScoringPolicy : public Policy {
 public:
  bool takes_adjustments() const override { return true; }
  /// score() and cut() are written with kernels/ operations, wherever the context computes.
  bool selects_on_device(const SequenceLayout&) const override { return true; }
  /// Remembers the plan: select() needs its counts. A prompt without pictures has no stages.
  Result<PruningPlan> plan(const SequenceLayout& layout, const ModelShape& shape) final;
  /// score(), then the adjustments in the order they were added, then cut() to the stage's `keep`
  /// or as many as the adjustments allow. A count of 0 asks for no score.
  Status select(Context& context, int stage_index, StageInput& input, Selection& selection) final;

  void add_adjustment(std::shared_ptr<const ScoreAdjustment> adjustment) {
    adjustments_.push_back(std::move(adjustment));
  }

 protected:
  virtual Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) = 0;
  /// f32 [m] over the visual tokens present; higher is kept. Lives in context.workspace.
  virtual Result<TensorView> score(Context& context, int stage_index, StageInput& input) = 0;
  /// Fills `selection` from adjusted scores; `keep` is between 0 and the number of scores. The
  /// default keeps the `keep` best.
  virtual Status cut(Context& context, int stage_index, StageInput& input, ConstTensorView scores,
                     std::int64_t keep, Selection& selection);

  const PruningPlan& current_plan() const { return plan_; }

 private:
  PruningPlan plan_;
  std::vector<std::shared_ptr<const ScoreAdjustment>> adjustments_;
};

/// Errors: usage when no text stands after a prompt's first picture, for methods that rank by its
/// attention; `method` as in "HiMAP".
Status require_text(const SequenceLayout& layout, const std::string& method);

/// Keeps the k best of `scores` (f32 [m]); fills `selection` from the workspace.
Status select_best(Context& context, ConstTensorView scores, std::int64_t k, Selection& selection);

}  // namespace fovea
