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

CLI::App& declare_calibrate(CLI::App& app, CalibrateVitOptions& vit);
/// Errors: usage.
Status check_calibrate(const CalibrateVitOptions& vit);

}  // namespace fovea::app
