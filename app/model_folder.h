#pragma once
// Which model a command means, and loading it as the options say.

#include <memory>
#include <string>
#include <vector>

#include "app/options.h"
#include "vlm/llava_model.h"

namespace fovea::app {

/// Places in which the bundled model is looked for, in order: beside the installed program
/// (PREFIX/share/fovea/models/NAME), then assets/models/NAME in the folders above the program (a
/// source tree that holds its build folder).
std::vector<std::string> bundled_model_places(const std::string& executable,
                                              const std::string& name);

/// The folder --model names, else the one FOVEA_MODEL names, else the bundled fovea-base. Errors:
/// not_found, with every place that was looked at.
Result<std::string> find_model_folder(const ModelOptions& options);

/// Checks --device and --dtype against what this build has. Errors: device, unsupported. Nothing
/// falls back silently.
Result<LoadOptions> load_options(const ModelOptions& options);

/// Errors: those of the three functions above and of LlavaModel::load.
Result<std::shared_ptr<const LlavaModel>> load_model(const ModelOptions& options);

}  // namespace fovea::app
