#pragma once
// fovea ask --compare: one picture and question under several pruning settings.

#include "app/options.h"

namespace fovea::app {

/// Asks under each of options.prune.settings and prints a table, or {"question", "runs", "model",
/// "version"} with --json. Returns an exit code; a setting that fails is one item of many.
int run_compare(const AskOptions& options);

}  // namespace fovea::app
