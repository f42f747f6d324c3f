#pragma once
// The result of fovea eval as JSON, as tables and as CSV.

#include <string>

#include "app/eval/eval_run.h"
#include "app/eval/exit_curve.h"
#include "app/eval/statistics.h"
#include "kernels/base/json.h"

namespace fovea::app {

/// Everything that was found out, by column of the run.
struct EvalResult {
  std::vector<Group> groups;
  std::vector<Summary> summaries;
  std::vector<ExitCurve> exits;  // of settings with a guide, where they were asked for
};

EvalResult evaluate(const EvalRun& run, const TokenGrid& grid, int resamples);
/// One for each column whose setting has a guide.
std::vector<ExitCurve> exit_curves(const EvalRun& run, const std::vector<PruneSetting>& settings,
                                   int resamples);

/// {"runs": [...], "controls": [...]}: settings and controls, each {"prune" or "control",
/// "accuracy", "interval", "by_category", "equivalent", "entering_mean", "first_token_ms",
/// "total_ms", "exit_rate", ...}; null where nothing was measured. Accuracies are from 0 to 1. With
/// "exit_curves" where there are any (see exit_curves_json()).
Json eval_json(const EvalRun& run, const EvalResult& result);

/// Two tables: settings and controls with what they cost, and their accuracies by group.
std::string eval_tables(const EvalRun& run, const EvalResult& result);

/// RFC 4180: a line of titles, one line a setting or control; accuracies from 0 to 1, empty cells
/// where nothing was measured.
std::string eval_csv(const EvalRun& run, const EvalResult& result);

}  // namespace fovea::app
