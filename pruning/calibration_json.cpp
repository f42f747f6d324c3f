#include "pruning/calibration_json.h"

namespace fovea {

Result<CalibrationReader> CalibrationReader::parse(std::string_view text, const std::string& kind) {
  FOVEA_TRY(Json json, parse_json(text, {.max_bytes = kMaxFileBytes}));
  CalibrationReader reader(std::move(json), kind);
  const Json* found = reader.json_.find("kind");
  if (found == nullptr || !found->is_string() || found->as_string() != kind) {
    return reader.bad("kind", "expected \"" + kind + "\": this file is no such calibration");
  }
  return reader;
}

Error CalibrationReader::bad(const std::string& field, std::string message) const {
  return make_error(ErrorCode::bad_input, std::move(message))
      .in_field(field)
      .with_remedy("Make the file with `fovea calibrate " + kind_ + "`");
}

Result<double> CalibrationReader::number(const char* field, double least, double most) const {
  const Json* found = json_.find(field);
  if (found == nullptr || !found->is_number() || !(found->as_double() >= least) ||
      !(found->as_double() <= most)) {
    return bad(field, "expected a number from " + Json(least).dump() + " to " + Json(most).dump());
  }
  return found->as_double();
}

Result<std::int64_t> CalibrationReader::whole(const char* field, std::int64_t least,
                                              std::int64_t most) const {
  const Json* found = json_.find(field);
  if (found == nullptr || !found->is_int() || found->as_int() < least || found->as_int() > most) {
    return bad(field, "expected a whole number from " + std::to_string(least) + " to " +
                          std::to_string(most));
  }
  return found->as_int();
}

Result<std::string> CalibrationReader::text(const char* field) const {
  const Json* found = json_.find(field);
  if (found == nullptr || !found->is_string()) return bad(field, "expected a text");
  return found->as_string();
}

Result<Json::Array> CalibrationReader::list(const char* field, std::size_t most) const {
  const Json* found = json_.find(field);
  if (found == nullptr || !found->is_array() || found->as_array().empty() ||
      found->as_array().size() > most) {
    return bad(field, "expected a list of 1 to " + std::to_string(most) + " items");
  }
  return found->as_array();
}

Result<CalibratedModel> CalibrationReader::model() const {
  const Json* found = json_.find("model");
  const Json* id = found != nullptr ? found->find("id") : nullptr;
  if (id == nullptr || !id->is_string()) return bad("model", "expected {\"id\", \"sha256\"}");
  CalibratedModel model{id->as_string(), ""};
  const Json* digest = found->find("sha256");
  if (digest != nullptr && digest->is_string()) model.sha256 = digest->as_string();
  return model;
}

Json calibrated_model_json(const CalibratedModel& model) {
  Json json = Json::object();
  json.set("id", model.id);
  json.set("sha256", model.sha256.empty() ? Json() : Json(model.sha256));
  return json;
}

}  // namespace fovea
