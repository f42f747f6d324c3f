#pragma once
// The file that `fovea calibrate debias` leaves, and that --debias reads.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pruning/calibration_json.h"
#include "pruning/index_trend.h"

namespace fovea {

struct DebiasCalibration {
  std::string method;  // whose scores were averaged: a name of methods()
  int layer = 0;       // of its first cut
  TrendFit fit;        // sigma is what --debias applies
  /// Mean score by index; not a number where no sample had one.
  std::vector<double> mean_scores;
  std::int64_t questions = 0;
  CalibratedModel model;
};

/// {"kind": "debias", "method", "layer", "sigma", "sigma_log", "explained", "mean_scores": [number
/// or null], "questions", "model": {"id", "sha256"}}.
std::string to_json(const DebiasCalibration& calibration);

/// Errors: bad_input, naming the field.
Result<DebiasCalibration> parse_debias_calibration(std::string_view text);
/// The same from a file. Errors: also those of read_file().
Result<DebiasCalibration> read_debias_calibration(const std::string& path);

}  // namespace fovea
