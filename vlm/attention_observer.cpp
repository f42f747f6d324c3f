#include "vlm/attention_observer.h"

namespace fovea {

VisualKeys::VisualKeys(const SequenceLayout& layout, const LayerAttention& attention) {
  for (std::size_t key = 0; key < attention.prompt_keys.size(); ++key) {
    const auto position = static_cast<std::size_t>(attention.prompt_keys[key]);
    if (layout.visual_ids[position] < 0) continue;
    keys.push_back(static_cast<std::int32_t>(key));
    ids.push_back(layout.visual_ids[position]);
  }
}

}  // namespace fovea
