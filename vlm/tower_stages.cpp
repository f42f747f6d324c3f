#include "vlm/tower_stages.h"

#include <algorithm>
#include <utility>

namespace fovea {

namespace {

struct Survivor {
  std::int32_t id;
  std::vector<std::int32_t> sources;
};

/// Survivors of one stage in one picture, by the prompt's ids. A class token that stays in the
/// tower is none of the prompt's tokens.
std::vector<Survivor> survivors_of(const StageRecord& stage, const PictureIds& ids) {
  std::vector<Survivor> survivors;
  for (std::size_t i = 0; i < stage.kept.size(); ++i) {
    Survivor survivor{ids.id_of(stage.kept[i]), {}};
    if (survivor.id < 0) continue;
    if (!stage.sources.empty()) {
      for (const std::int32_t row : stage.sources[i]) survivor.sources.push_back(ids.id_of(row));
    }
    survivors.push_back(std::move(survivor));
  }
  return survivors;
}

}  // namespace

Status record_tower_stages(const EncodedPrompt& prompt,
                           const std::vector<std::shared_ptr<const PictureFeatures>>& features,
                           PruningRecord& record) {
  if (prompt.pictures.empty()) return {};
  const auto stages_of = [&](const PictureIds& ids) -> const std::vector<StageRecord>& {
    return features[static_cast<std::size_t>(ids.picture)]->stages;
  };
  const std::vector<StageRecord>& first = stages_of(prompt.pictures.front());
  for (std::size_t s = 0; s < first.size(); ++s) {
    std::vector<Survivor> survivors;
    for (const PictureIds& ids : prompt.pictures) {
      if (stages_of(ids).size() != first.size()) {
        return make_error(ErrorCode::internal, "pictures were pruned in different ways");
      }
      for (Survivor& survivor : survivors_of(stages_of(ids)[s], ids)) {
        survivors.push_back(std::move(survivor));
      }
    }
    std::sort(survivors.begin(), survivors.end(),
              [](const Survivor& a, const Survivor& b) { return a.id < b.id; });
    StageRecord stage{.when = Hook::vit_block, .layer = first[s].layer};
    for (Survivor& survivor : survivors) {
      stage.kept.push_back(survivor.id);
      if (!first[s].sources.empty()) stage.sources.push_back(std::move(survivor.sources));
    }
    record.stages.push_back(std::move(stage));
  }
  return {};
}

}  // namespace fovea
