#pragma once
// The options of fovea eval.

#include "app/options.h"

namespace CLI {
class App;
}

namespace fovea::app {

void add_eval_options(CLI::App& command, EvalOptions& options);

/// Reads settings and controls. Errors: usage.
Status check_eval_options(EvalOptions& options);

}  // namespace fovea::app
