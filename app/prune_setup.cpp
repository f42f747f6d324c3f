#include "app/prune_setup.h"

namespace fovea::app {

Result<PruneSetup> make_prune_setup(const PruneSetting& setting, const LlavaModel&) {
  PruneSetup setup;
  setup.setting = setting;
  setup.positions = setting.positions;
  if (setting.prunes()) {
    FOVEA_TRY(setup.policy, make_policy(setting.request));
  }
  return setup;
}

}  // namespace fovea::app
