#pragma once
// What the files of `fovea calibrate` have in common: their kind, checked numbers, the model they
// were made with.

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/base/error.h"
#include "kernels/base/json.h"

namespace fovea {

/// The model that sample questions were put to.
struct CalibratedModel {
  std::string id;
  std::string sha256;  // of its weights; empty when they were too many to hash
};

/// Reads the fields of one calibration file. All errors are bad_input, name the field, and say how
/// the file is made.
class CalibrationReader {
 public:
  /// Errors: those of parse_json(), and unless {"kind": `kind`} stands there.
  static Result<CalibrationReader> parse(std::string_view text, const std::string& kind);

  Error bad(const std::string& field, std::string message) const;
  Result<double> number(const char* field, double least, double most) const;
  Result<std::int64_t> whole(const char* field, std::int64_t least, std::int64_t most) const;
  Result<std::string> text(const char* field) const;
  /// Errors: unless it has from 1 to `most` items.
  Result<Json::Array> list(const char* field, std::size_t most) const;
  Result<CalibratedModel> model() const;

  static constexpr std::size_t kMaxFileBytes = std::size_t{1} << 22;

 private:
  CalibrationReader(Json json, std::string kind) : json_(std::move(json)), kind_(std::move(kind)) {}
  Json json_;
  std::string kind_;
};

Json calibrated_model_json(const CalibratedModel& model);

}  // namespace fovea
