// Whatever stands in a recipe's file: an error, or a recipe that survives writing and makes sound
// stages or a refusal for any picture.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "pruning/fitprune_recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto recipe = fovea::parse_fitprune_recipe({reinterpret_cast<const char*>(data), size});
  if (!recipe) return 0;
  const auto again = fovea::parse_fitprune_recipe(fovea::to_json(*recipe));
  if (!again || again->deletions != recipe->deletions) std::abort();
  for (const std::int64_t visual : {1, 16, 576}) {
    const auto stages =
        fovea::recipe_stages(*recipe, static_cast<int>(recipe->deletions.size()), visual);
    if (!stages) continue;
    for (const fovea::ScheduleStage& stage : *stages) {
      const std::int64_t left = stage.keep.tokens(visual);
      if (left < 1 || left >= visual) std::abort();
    }
  }
  return 0;
}
