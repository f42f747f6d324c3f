#pragma once
// FitPrune's recipes (arXiv 2409.10197): how many visual tokens to delete after the attention of
// each layer, fitted once per model to attention statistics and a FLOPs target.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/error.h"
#include "pruning/accounting.h"
#include "pruning/schedule.h"

namespace fovea {

/// As a file: {"model": text, "target": share of the prefill's FLOPs saved, "deletions": [one per
/// layer]}. Deletions are counts when all are whole numbers, else shares of the prompt's visual
/// tokens (for models whose pictures have differing numbers of tokens).
struct FitPruneRecipe {
  std::string model;
  double target = 0;
  std::vector<double> deletions;
  bool shares = false;
};

/// Errors: bad_input, naming the field: not an object, a field that is missing, unknown or of
/// another kind, a target outside [0, 1), no layers or more than 1024, a deletion that is negative
/// or not finite, shares that add up to 1 or more.
Result<FitPruneRecipe> parse_fitprune_recipe(std::string_view json);
/// The same from a file. Errors: also those of read_file().
Result<FitPruneRecipe> read_fitprune_recipe(const std::string& path);
std::string to_json(const FitPruneRecipe& recipe);

/// Tokens left after the attention of each layer that deletes any. Errors: usage when the recipe is
/// for another number of layers, or deletes all `visual` tokens or more.
Result<std::vector<ScheduleStage>> recipe_stages(const FitPruneRecipe& recipe, int layers,
                                                 std::int64_t visual);

/// What one prompt's unpruned run shows, per layer and visual token, with the maximum over heads
/// taken first: the mean over text rows, and the sum over visual rows divided by their number
/// (ScoreRequest with Reduction::max over heads and Reduction::mean over RowSet::text or
/// RowSet::visual).
struct FitPruneSample {
  std::vector<std::vector<float>> cross, self;  // [layers][visual tokens]
  std::int64_t text_tokens = 0;                 // prompt tokens that are not visual
};

/// The recipe that saves `target` of the prefill's FLOPs (as account() counts them). For an
/// allowance alpha every sample deletes, layer by layer, the tokens present that lie among the
/// lowest of both statistics, each taken as long as its sum stays at most alpha of that statistic's
/// total over the tokens present; a recipe has the mean deletions over samples. alpha is bisected
/// between 0 and 1 until the bracket is 0.01 wide; the recipe of its upper end is returned, so that
/// the target is met. Later layers are judged by the unpruned run's statistics. At least one token
/// stays. Errors: usage for no samples, samples of differing size, a target outside [0, 1) or one
/// that even alpha = 1 does not reach.
Result<FitPruneRecipe> fit_recipe(std::span<const FitPruneSample> samples, const BudgetShape& shape,
                                  const std::string& model, double target);

}  // namespace fovea
