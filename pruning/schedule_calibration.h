#pragma once
// The file that `fovea calibrate schedule` leaves, and that adaptinfer takes its layers and counts
// from.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pruning/calibration_json.h"
#include "pruning/schedule.h"

namespace fovea {

struct ScheduleCalibration {
  int layers = 0;                     // of the model
  std::int64_t visual = 0;            // visual tokens of the sample prompts that the counts are for
  std::vector<ScheduleStage> stages;  // layers rise, counts fall; counts, no ratios
  std::vector<std::int64_t> change_points;  // found at each layer
  std::int64_t questions = 0;
  CalibratedModel model;
};

/// {"kind": "schedule", "layers", "visual", "stages": [{"layer", "keep"}], "change_points": [one a
/// layer], "questions", "model": {"id", "sha256"}}.
std::string to_json(const ScheduleCalibration& calibration);

/// Errors: bad_input, naming the field.
Result<ScheduleCalibration> parse_schedule_calibration(std::string_view text);
/// The same from a file. Errors: also those of read_file().
Result<ScheduleCalibration> read_schedule_calibration(const std::string& path);

/// The stages for a prompt of `visual` visual tokens: a count k of V becomes round(k visual / V).
/// Errors: usage for a model of another depth.
Result<std::vector<ScheduleStage>> calibrated_stages(const ScheduleCalibration& calibration,
                                                     int layers, std::int64_t visual);

/// What is kept at each layer where a schedule was calibrated: a quarter of the tokens before it
/// (the published counts leave from a tenth to a quarter), or, with a budget, counts in these
/// proportions for a mean of `budget` visual tokens entering each layer. Errors: those of
/// solve_budget().
Result<std::vector<ScheduleStage>> stages_at(const std::vector<int>& layers_cut, int layers,
                                             std::int64_t visual, std::optional<double> budget);

}  // namespace fovea
