#pragma once
// One function per command. Each prints, and returns an exit code (see exit_code.h).

#include "app/options.h"

namespace fovea::app {

int run_ask(const AskOptions& options);
int run_chat(const ChatOptions& options);
int run_inspect(const InspectOptions& options);
int run_bench(const BenchOptions& options);
int run_eval(const EvalOptions& options);
int run_heatmap(const HeatmapOptions& options);
int run_classify(const ClassifyOptions& options);
int run_calibrate_vit(const CalibrateVitOptions& options);
int run_calibrate_exit(const CalibrateExitOptions& options);
int run_calibrate_schedule(const CalibrateScheduleOptions& options);
int run_calibrate_debias(const CalibrateDebiasOptions& options);
int run_calibrate_fitprune(const CalibrateFitPruneOptions& options);

/// Parses the line and runs its command. Nothing escapes as an exception.
int run_command_line(int argc, const char* const* argv);

}  // namespace fovea::app
