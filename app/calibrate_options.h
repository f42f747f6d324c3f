#pragma once
// What `fovea calibrate` may be told: one subcommand for each thing that is calibrated.

#include <cstdint>
#include <string>
#include <vector>

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

/// fovea calibrate exit: the threshold at which a guide answers a share of sample questions itself.
struct CalibrateExitOptions {
  ModelOptions model;  // its folder is the guide's
  OutputOptions output;
  GenerationOptions generation;
  std::string questions;
  std::string image_folder;  // empty: as for eval
  std::string out;           // the file with the threshold
  double share = 0;
  std::string exit_by = "score";
  std::int64_t limit = 0;  // 0: all
};

struct CalibrateOptions {
  CalibrateVitOptions vit;
  CalibrateExitOptions exit;
};

CLI::App& declare_calibrate(CLI::App& app, CalibrateOptions& options);
/// Errors: usage.
Status check_calibrate(const CalibrateVitOptions& options);
Status check_calibrate(const CalibrateExitOptions& options);

}  // namespace fovea::app
