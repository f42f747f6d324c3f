#include "pruning/debias_calibration.h"

#include <cmath>
#include <limits>

#include "kernels/base/file.h"
#include "pruning/method.h"

namespace fovea {

namespace {

constexpr std::size_t kMaxTokens = 100'000;
constexpr std::int64_t kMaxCount = std::int64_t{1} << 53;
constexpr double kLargestSigma = 50;

}  // namespace

std::string to_json(const DebiasCalibration& calibration) {
  Json scores = Json::array();
  for (const double score : calibration.mean_scores) {
    scores.push(std::isfinite(score) ? Json(score) : Json());
  }
  Json json = Json::object();
  json.set("kind", "debias");
  json.set("method", calibration.method);
  json.set("layer", calibration.layer);
  json.set("sigma", calibration.fit.sigma);
  json.set("sigma_log", calibration.fit.sigma_log);
  json.set("explained", calibration.fit.explained);
  json.set("questions", calibration.questions);
  json.set("model", calibrated_model_json(calibration.model));
  json.set("mean_scores", std::move(scores));
  return json.dump() + "\n";
}

Result<DebiasCalibration> parse_debias_calibration(std::string_view text) {
  FOVEA_TRY(const CalibrationReader reader, CalibrationReader::parse(text, "debias"));
  DebiasCalibration calibration;
  FOVEA_TRY(calibration.method, reader.text("method"));
  if (find_method(calibration.method) == nullptr) {
    return reader.bad("method", "expected the name of a pruning method");
  }
  FOVEA_TRY(const std::int64_t layer, reader.whole("layer", 0, 9999));
  calibration.layer = static_cast<int>(layer);
  FOVEA_TRY(calibration.fit.sigma, reader.number("sigma", -kLargestSigma, kLargestSigma));
  // The second fit is told, not applied: no bound of the first holds for it.
  FOVEA_TRY(calibration.fit.sigma_log, reader.number("sigma_log", -1e6, 1e6));
  FOVEA_TRY(calibration.fit.explained, reader.number("explained", 0, 1));
  FOVEA_TRY(calibration.questions, reader.whole("questions", 1, kMaxCount));
  FOVEA_TRY(calibration.model, reader.model());
  FOVEA_TRY(const Json::Array scores, reader.list("mean_scores", kMaxTokens));
  for (const Json& score : scores) {
    if (!score.is_null() && (!score.is_number() || !(score.as_double() >= 0))) {
      return reader.bad("mean_scores",
                        "expected numbers of at least 0, or null, found another "
                        "value at index " +
                            std::to_string(calibration.mean_scores.size()));
    }
    calibration.mean_scores.push_back(score.is_null() ? std::numeric_limits<double>::quiet_NaN()
                                                      : score.as_double());
  }
  return calibration;
}

Result<DebiasCalibration> read_debias_calibration(const std::string& path) {
  FOVEA_TRY(const std::string text, read_file(path, CalibrationReader::kMaxFileBytes));
  Result<DebiasCalibration> calibration = parse_debias_calibration(text);
  if (!calibration) calibration.error().in_file(path);
  return calibration;
}

}  // namespace fovea
