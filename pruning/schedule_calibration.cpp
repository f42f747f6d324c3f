#include "pruning/schedule_calibration.h"

#include <cmath>

#include "kernels/base/file.h"

namespace fovea {

namespace {

constexpr std::int64_t kMaxLayers = 1024;
constexpr std::int64_t kMaxVisual = 1'000'000;
constexpr std::int64_t kMaxCount = std::int64_t{1} << 53;
constexpr double kLeftByCut = 0.25;

Result<std::int64_t> member(const CalibrationReader& reader, const Json& stage, const char* name,
                            std::int64_t most) {
  const Json* found = stage.find(name);
  if (found == nullptr || !found->is_int() || found->as_int() < 0 || found->as_int() > most) {
    return reader.bad("stages", std::string("expected ") + name + ", a whole number from 0 to " +
                                    std::to_string(most));
  }
  return found->as_int();
}

}  // namespace

std::string to_json(const ScheduleCalibration& calibration) {
  Json stages = Json::array();
  for (const ScheduleStage& stage : calibration.stages) {
    Json one = Json::object();
    one.set("layer", stage.layer);
    one.set("keep", stage.keep.tokens(calibration.visual));
    stages.push(std::move(one));
  }
  Json json = Json::object();
  json.set("kind", "schedule");
  json.set("layers", calibration.layers);
  json.set("visual", calibration.visual);
  json.set("stages", std::move(stages));
  json.set("change_points", Json::array_of(calibration.change_points));
  json.set("questions", calibration.questions);
  json.set("model", calibrated_model_json(calibration.model));
  return json.dump(1) + "\n";
}

Result<ScheduleCalibration> parse_schedule_calibration(std::string_view text) {
  FOVEA_TRY(const CalibrationReader reader, CalibrationReader::parse(text, "schedule"));
  ScheduleCalibration calibration;
  FOVEA_TRY(const std::int64_t layers, reader.whole("layers", 1, kMaxLayers));
  calibration.layers = static_cast<int>(layers);
  FOVEA_TRY(calibration.visual, reader.whole("visual", 1, kMaxVisual));
  FOVEA_TRY(const Json::Array stages, reader.list("stages", static_cast<std::size_t>(layers)));
  std::int64_t present = calibration.visual;
  for (const Json& stage : stages) {
    FOVEA_TRY(const std::int64_t layer, member(reader, stage, "layer", layers - 1));
    FOVEA_TRY(const std::int64_t keep, member(reader, stage, "keep", kMaxVisual));
    if (!calibration.stages.empty() && layer <= calibration.stages.back().layer) {
      return reader.bad("stages", "layer " + std::to_string(layer) + " does not come after layer " +
                                      std::to_string(calibration.stages.back().layer));
    }
    if (keep > present) {
      return reader.bad("stages", "layer " + std::to_string(layer) + " keeps " +
                                      std::to_string(keep) + " of " + std::to_string(present) +
                                      " tokens");
    }
    present = keep;
    calibration.stages.push_back({static_cast<int>(layer), {static_cast<double>(keep), false}});
  }
  FOVEA_TRY(const Json::Array points,
            reader.list("change_points", static_cast<std::size_t>(layers)));
  for (const Json& count : points) {
    if (!count.is_int() || count.as_int() < 0 || count.as_int() > kMaxCount) {
      return reader.bad("change_points", "expected whole numbers of at least 0");
    }
    calibration.change_points.push_back(count.as_int());
  }
  if (calibration.change_points.size() != static_cast<std::size_t>(layers)) {
    return reader.bad("change_points", "expected one number for each of " + std::to_string(layers) +
                                           " layers, found " +
                                           std::to_string(calibration.change_points.size()));
  }
  FOVEA_TRY(calibration.questions, reader.whole("questions", 1, kMaxCount));
  FOVEA_TRY(calibration.model, reader.model());
  return calibration;
}

Result<ScheduleCalibration> read_schedule_calibration(const std::string& path) {
  FOVEA_TRY(const std::string text, read_file(path, CalibrationReader::kMaxFileBytes));
  Result<ScheduleCalibration> calibration = parse_schedule_calibration(text);
  if (!calibration) calibration.error().in_file(path);
  return calibration;
}

Result<std::vector<ScheduleStage>> calibrated_stages(const ScheduleCalibration& calibration,
                                                     int layers, std::int64_t visual) {
  if (calibration.layers != layers) {
    return make_error(ErrorCode::usage, "the schedule was calibrated with " + calibration.model.id +
                                            ", of " + std::to_string(calibration.layers) +
                                            " layers, and this model has " + std::to_string(layers))
        .in_field("--prune-config")
        .with_remedy("Calibrate one with this model: `fovea calibrate schedule`");
  }
  return scale_preset({"", layers, calibration.visual, calibration.stages}, layers, visual);
}

Result<std::vector<ScheduleStage>> stages_at(const std::vector<int>& layers_cut, int layers,
                                             std::int64_t visual, std::optional<double> budget) {
  std::vector<ScheduleStage> stages;
  double share = 1;
  for (const int layer : layers_cut) {
    share *= kLeftByCut;
    const double count = std::round(share * static_cast<double>(visual));
    stages.push_back({layer, {count, false}});
  }
  if (!budget) return stages;
  return solve_budget(std::move(stages), CutSide::after, layers, visual, *budget);
}

}  // namespace fovea
