#pragma once
// A pruning setting made ready for a loaded model.

#include <memory>
#include <optional>
#include <string>

#include "app/prune_options.h"
#include "vlm/llava_model.h"

namespace fovea::app {

struct PruneSetup {
  PruneSetting setting;
  std::shared_ptr<Policy> policy;         // null: no pruning; serves one session at a time
  std::optional<PositionMode> positions;  // none: the policy's own
};

/// Errors: usage for what the method or the model does not take.
Result<PruneSetup> make_prune_setup(const PruneSetting& setting, const LlavaModel& model);

}  // namespace fovea::app
