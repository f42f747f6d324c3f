#include "pruning/score_record.h"

#include <limits>

namespace fovea {

Result<std::int64_t> ScoreRecord::adjust(int stage_index, const StageInput& input,
                                         std::span<float> scores) const {
  Stage stage;
  stage.index = stage_index;
  stage.scores.assign(input.layout().visual.size(), std::numeric_limits<float>::quiet_NaN());
  const auto ids = input.visual_ids();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    stage.scores[static_cast<std::size_t>(ids[i])] = scores[i];
  }
  stages_.push_back(std::move(stage));
  return static_cast<std::int64_t>(scores.size());
}

}  // namespace fovea
