#include "pruning/exit_calibration_file.h"

#include "kernels/base/file.h"
#include "kernels/base/json.h"

namespace fovea {

namespace {

constexpr std::size_t kMaxFileBytes = 1 << 16;

Error bad(const char* field, std::string message) {
  return make_error(ErrorCode::bad_input, std::move(message))
      .in_field(field)
      .with_remedy("Make the file with `fovea calibrate exit`");
}

Status take_share(const Json& json, const char* name, double& value) {
  const Json* found = json.find(name);
  if (found == nullptr || !found->is_number() || !(found->as_double() >= 0) ||
      !(found->as_double() <= 1)) {
    return bad(name, "expected a number from 0 to 1");
  }
  value = found->as_double();
  return {};
}

}  // namespace

std::string to_json(const ExitCalibration& calibration) {
  Json guide = Json::object();
  guide.set("id", calibration.guide);
  guide.set("sha256", calibration.guide_sha256.empty() ? Json() : Json(calibration.guide_sha256));
  Json json = Json::object();
  json.set("kind", "exit");
  json.set("exit_by", calibration.exit_by == ExitBy::confidence ? "confidence" : "score");
  json.set("threshold", calibration.threshold);
  json.set("share_wanted", calibration.share_wanted);
  json.set("share", calibration.share);
  json.set("questions", static_cast<std::int64_t>(calibration.questions));
  json.set("guide", std::move(guide));
  return json.dump(1) + "\n";
}

Result<ExitCalibration> parse_exit_calibration(std::string_view text) {
  FOVEA_TRY(const Json json, parse_json(text, {.max_bytes = kMaxFileBytes}));
  const Json* kind = json.is_object() ? json.find("kind") : nullptr;
  if (kind == nullptr || !kind->is_string() || kind->as_string() != "exit") {
    return bad("kind", "expected \"exit\": this is no calibration of an early exit");
  }
  ExitCalibration calibration;
  const Json* exit_by = json.find("exit_by");
  const std::string by = exit_by != nullptr && exit_by->is_string() ? exit_by->as_string() : "";
  if (by != "score" && by != "confidence") {
    return bad("exit_by", "expected \"score\" or \"confidence\"");
  }
  if (by == "confidence") calibration.exit_by = ExitBy::confidence;
  FOVEA_CHECK(take_share(json, "threshold", calibration.threshold));
  FOVEA_CHECK(take_share(json, "share_wanted", calibration.share_wanted));
  FOVEA_CHECK(take_share(json, "share", calibration.share));
  const Json* questions = json.find("questions");
  if (questions == nullptr || !questions->is_int() || questions->as_int() < 1) {
    return bad("questions", "expected a whole number of at least 1");
  }
  calibration.questions = static_cast<std::size_t>(questions->as_int());
  const Json* guide = json.find("guide");
  const Json* id = guide != nullptr && guide->is_object() ? guide->find("id") : nullptr;
  if (id == nullptr || !id->is_string()) return bad("guide", "expected {\"id\", \"sha256\"}");
  calibration.guide = id->as_string();
  const Json* digest = guide->find("sha256");
  if (digest != nullptr && digest->is_string()) calibration.guide_sha256 = digest->as_string();
  return calibration;
}

Result<ExitCalibration> read_exit_calibration(const std::string& path) {
  FOVEA_TRY(const std::string text, read_file(path, kMaxFileBytes));
  Result<ExitCalibration> calibration = parse_exit_calibration(text);
  if (!calibration) calibration.error().in_file(path);
  return calibration;
}

}  // namespace fovea
