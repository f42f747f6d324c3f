#include "vlm/tower_stages.h"

#include <algorithm>
#include <utility>

namespace fovea {

Status record_tower_stages(const EncodedPrompt& prompt,
                           const std::vector<std::shared_ptr<const PictureFeatures>>& features,
                           PruningRecord& record) {
  if (prompt.pictures.empty()) return {};
  const auto stages_of = [&](const PictureIds& ids) -> const std::vector<StageRecord>& {
    return features[static_cast<std::size_t>(ids.picture)]->stages;
  };
  const std::vector<StageRecord>& first = stages_of(prompt.pictures.front());
  for (std::size_t s = 0; s < first.size(); ++s) {
    StageRecord stage{.when = Hook::vit_block, .layer = first[s].layer};
    for (const PictureIds& ids : prompt.pictures) {
      if (stages_of(ids).size() != first.size()) {
        return make_error(ErrorCode::internal, "pictures were pruned in different ways");
      }
      // A class token that stays in the tower is none of the prompt's tokens.
      for (const std::int32_t row : stages_of(ids)[s].kept) {
        if (const std::int32_t id = ids.id_of(row); id >= 0) stage.kept.push_back(id);
      }
      for (const auto& rows : stages_of(ids)[s].sources) {
        std::vector<std::int32_t>& merged = stage.sources.emplace_back();
        for (const std::int32_t row : rows) merged.push_back(ids.id_of(row));
      }
    }
    std::sort(stage.kept.begin(), stage.kept.end());
    record.stages.push_back(std::move(stage));
  }
  return {};
}

}  // namespace fovea
