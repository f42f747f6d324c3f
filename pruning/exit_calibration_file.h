#pragma once
// The file that calibrating an early exit leaves, and that sgl reads its threshold from.

#include <string>
#include <string_view>

#include "pruning/methods/sgl.h"

namespace fovea {

struct ExitCalibration {
  ExitBy exit_by = ExitBy::score;  // score or confidence
  double threshold = 0;            // from 0 to 1
  double share_wanted = 0, share = 0;
  std::size_t questions = 0;
  std::string guide;         // the model's id
  std::string guide_sha256;  // of its weights; empty when they were too many to hash
};

/// {"kind": "exit", "exit_by", "threshold", "share_wanted", "share", "questions", "guide": {"id",
/// "sha256"}}.
std::string to_json(const ExitCalibration& calibration);

/// Errors: bad_input, naming the field.
Result<ExitCalibration> parse_exit_calibration(std::string_view text);
/// The same from a file. Errors: also those of read_file().
Result<ExitCalibration> read_exit_calibration(const std::string& path);

}  // namespace fovea
