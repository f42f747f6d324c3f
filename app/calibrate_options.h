#pragma once
// What `fovea calibrate` may be told: one subcommand for each thing that is calibrated.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/prune_options.h"
#include "app/shared_options.h"
#include "vision/adaptive_vit.h"

namespace fovea::app {

/// fovea calibrate vit: thresholds of adaptive pruning from sample pictures.
struct CalibrateVitOptions {
  ModelOptions model;
  OutputOptions output;
  std::vector<std::string> paths;  // files, folders, patterns
  std::string out;                 // the file of thresholds
  double budget = 0.65;
  std::vector<int> blocks;  // empty: the default
  std::string score = "last";
  std::int64_t limit = 256;  // sample pictures
  std::int64_t batch = 16;
};

/// What calibrations by sample questions have in common.
struct CalibrateQuestionOptions {
  ModelOptions model;
  OutputOptions output;
  GenerationOptions generation;
  std::string questions;
  std::string image_folder;  // empty: as for eval
  std::string out;           // the file that is made
  std::int64_t limit = 0;    // 0: all
};

/// fovea calibrate exit: the threshold at which a guide answers a share of sample questions itself.
/// The model's folder is the guide's.
struct CalibrateExitOptions : CalibrateQuestionOptions {
  double share = 0;
  std::string exit_by = "score";
};

/// fovea calibrate schedule: the layers after which AdaptInfer cuts.
struct CalibrateScheduleOptions : CalibrateQuestionOptions {
  int stages = 3;
  std::optional<double> budget;
};

/// fovea calibrate debias: the trend by index in a method's scores.
struct CalibrateDebiasOptions : CalibrateQuestionOptions {
  PruneOptions prune;       // one setting, whose scores are averaged
  std::string table, plot;  // files; empty: not written
};

/// fovea calibrate fitprune: a recipe of deletions.
struct CalibrateFitPruneOptions : CalibrateQuestionOptions {
  double target = 0;  // share of the prefill's FLOPs saved
};

struct CalibrateOptions {
  CalibrateVitOptions vit;
  CalibrateExitOptions exit;
  CalibrateScheduleOptions schedule;
  CalibrateDebiasOptions debias;
  CalibrateFitPruneOptions fitprune;
};

CLI::App& declare_calibrate(CLI::App& app, CalibrateOptions& options);
/// Errors: usage.
Status check_calibrate(const CalibrateVitOptions& options);
Status check_calibrate(const CalibrateExitOptions& options);
Status check_calibrate(const CalibrateScheduleOptions& options);
Status check_calibrate(CalibrateDebiasOptions& options);
Status check_calibrate(const CalibrateFitPruneOptions& options);

}  // namespace fovea::app
