#pragma once
// Adaptive pruning between the blocks of a vision tower that feeds a language model (arXiv
// 2209.13802, and the rules it is compared with). Patches that leave make the later blocks cheaper
// too; survivors keep their cell.

#include <memory>
#include <string>

#include "pruning/vit/adaptive_vit.h"
#include "vision/tower_pruner.h"

namespace fovea {

/// `settings` were checked against the tower's blocks; `name` is for messages. In a CLIP tower
/// thresholds are calibrated, not trained. When no patch survives, the picture has no tokens (but
/// the class token, in models that select it). Draws by lot depend on the pixels.
std::shared_ptr<TowerPruner> adaptive_tower_pruner(VitPruneSettings settings, std::string name);

}  // namespace fovea
