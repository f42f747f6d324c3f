#pragma once
// Where a method cuts and how much it keeps: published presets, their transfer to models of another
// depth or token count, user's own counts, and solving for a budget.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "pruning/policy.h"

namespace fovea {

/// A count as the user writes it: tokens, or a ratio of the prompt's visual tokens below 1.
struct KeepCount {
  double value = 0;
  bool is_ratio = false;

  /// Ratios round to the nearest token.
  std::int64_t tokens(std::int64_t visual) const;
};

struct ScheduleStage {
  int layer = 0;
  KeepCount keep;
};

/// Layers and counts as published, with the model and token count they were published for.
struct SchedulePreset {
  std::string name;
  int layers = 32;            // depth of the model it was published for
  std::int64_t visual = 576;  // visual tokens it was published for
  std::vector<ScheduleStage> stages;
};

/// Rule by which a preset moves to another model: layer l of D becomes round(l L / D), at least 1
/// when l was, and above the stage before it; a count k of V becomes round(k V' / V), a ratio r
/// becomes round(r V'). A preset is unchanged on a model of its own depth and token count.
std::vector<ScheduleStage> scale_preset(const SchedulePreset& preset, int layers,
                                        std::int64_t visual);

/// Whether the layer named still runs on everything (cut after it) or not (cut before it).
enum class CutSide { before, after };

/// Visual tokens present after a cut of `present` to `keep`, for methods that leave more than they
/// keep (merged tokens). Null where a method's cuts leave what they keep.
using LeftByCut = std::int64_t (*)(std::int64_t present, std::int64_t keep);

/// Mean of the visual tokens entering each layer.
double entering_mean(const std::vector<ScheduleStage>& stages, CutSide side, int layers,
                     std::int64_t visual, LeftByCut left = nullptr);

/// Scales the counts of `stages` by one common factor until the mean of visual tokens entering each
/// layer is as near `budget` as whole tokens allow. Errors: usage, with the range that the method's
/// layers can reach.
Result<std::vector<ScheduleStage>> solve_budget(std::vector<ScheduleStage> stages, CutSide side,
                                                int layers, std::int64_t visual, double budget,
                                                LeftByCut left = nullptr);

/// What the user asked for, in order of precedence: own layers and counts, then a budget, then a
/// preset's name, then the method's default.
struct ScheduleRequest {
  std::string preset;
  std::vector<int> layers;
  std::vector<KeepCount> keep;
  std::optional<double> budget;  // mean of visual tokens entering each layer
  bool budget_is_share = false;  // of the prompt's visual tokens

  /// Precondition: there is a budget.
  double budget_tokens(std::int64_t visual) const {
    return budget_is_share ? *budget * static_cast<double>(visual) : *budget;
  }
};

/// Checks order (layers rise, counts do not) and bounds, drops stages that would keep everything.
/// Errors: usage, naming the stage at fault, or saying that the model has too few layers for the
/// preset's first cut.
Result<std::vector<ScheduleStage>> resolve_schedule(const ScheduleRequest& request,
                                                    const std::vector<SchedulePreset>& presets,
                                                    const std::string& default_preset, CutSide side,
                                                    int layers, std::int64_t visual,
                                                    LeftByCut left = nullptr);

/// The second half of resolve_schedule(), for methods whose own stages come from elsewhere:
/// `stages` unless the request names others. `source` ("the preset", "the recipe") is for messages.
Result<std::vector<ScheduleStage>> apply_request(const ScheduleRequest& request,
                                                 std::vector<ScheduleStage> stages,
                                                 const std::string& source, CutSide side,
                                                 int layers, std::int64_t visual,
                                                 LeftByCut left = nullptr);

}  // namespace fovea
