#pragma once
// What pruning in the vision tower did to a prompt's pictures, told in the prompt's ids.

#include <memory>
#include <vector>

#include "pruning/accounting.h"
#include "vlm/picture_features.h"
#include "vlm/prompt.h"

namespace fovea {

/// Appends the tower's stages to `record`, each once for all pictures. features: by index of the
/// pictures given. Errors: internal when pictures were pruned in different numbers of stages.
Status record_tower_stages(const EncodedPrompt& prompt,
                           const std::vector<std::shared_ptr<const PictureFeatures>>& features,
                           PruningRecord& record);

}  // namespace fovea
