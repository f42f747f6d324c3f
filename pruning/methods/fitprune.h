#pragma once
// FitPrune (arXiv 2409.10197): right after the attention of many layers, deletes as many visual
// tokens as a recipe says, those that text and picture look at least.

#include <memory>
#include <string>
#include <vector>

#include "pruning/fitprune_recipe.h"
#include "pruning/method.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// None: published recipes are not complete, and a recipe belongs to one model.
const std::vector<SchedulePreset>& fitprune_presets();

class FitPrune final : public ScoringPolicy {
 public:
  /// `recipe`: null where the request names layers and counts of its own.
  FitPrune(ScheduleRequest request, std::shared_ptr<const FitPruneRecipe> recipe)
      : request_(std::move(request)), recipe_(std::move(recipe)) {}
  /// Reads the recipe that request.config names. Errors: those of read_fitprune_recipe().
  static Result<std::shared_ptr<FitPrune>> make(const MethodRequest& request);
  std::string name() const override { return "fitprune"; }

 protected:
  /// Errors: usage when there is neither a recipe nor layers and counts, or when no text follows
  /// the pictures; those of recipe_stages() and apply_request().
  Result<PruningPlan> make_plan(const SequenceLayout& layout, const ModelShape& shape) override;
  /// Mean attention of the text times mean attention of the picture, the maximum over heads first.
  Result<TensorView> score(Context& context, int stage_index, StageInput& input) override;

 private:
  ScheduleRequest request_;
  std::shared_ptr<const FitPruneRecipe> recipe_;
};

}  // namespace fovea
