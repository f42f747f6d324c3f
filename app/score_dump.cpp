#include "app/score_dump.h"

#include <array>
#include <filesystem>

#include "app/text.h"
#include "kernels/base/file.h"
#include "kernels/base/npy.h"

namespace fovea::app {

Result<std::shared_ptr<ScoreRecord>> record_scores(PruneSetting& setting) {
  std::shared_ptr<ScoreRecord> record;
  if (!setting.prunes()) return record;
  FOVEA_TRY(const auto policy, make_policy(setting.request));
  if (!policy->takes_adjustments()) return record;
  record = std::make_shared<ScoreRecord>();
  setting.request.adjustments.push_back(record);
  return record;
}

Status write_scores(const std::string& folder, ScoreRecord& record, const Answer& answer) {
  std::vector<const StageRecord*> cuts;  // those of the decoder, as planned
  for (const StageRecord& stage : answer.pruning.stages) {
    if (stage.when != Hook::vit_block) cuts.push_back(&stage);
  }
  FOVEA_CHECK(make_folder(folder));
  for (const ScoreRecord::Stage& stage : record.stages()) {
    const auto index = static_cast<std::size_t>(stage.index);
    if (index >= cuts.size()) {
      return make_error(ErrorCode::internal, "a cut was ranked and is not on record");
    }
    const std::string name = format("stage-%d-%s-%d.npy", stage.index + 1,
                                    hook_name(cuts[index]->when), cuts[index]->layer);
    const std::array shape{static_cast<std::int64_t>(stage.scores.size())};
    FOVEA_CHECK(write_npy((std::filesystem::path(folder) / name).string(), shape, stage.scores));
  }
  record.clear();
  return {};
}

std::string file_name(const std::string& name) {
  std::string safe;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '=' || c == '+' || c == '-';
    safe += plain ? c : '-';
  }
  return safe;
}

}  // namespace fovea::app
