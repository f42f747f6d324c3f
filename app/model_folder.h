#pragma once
// Which model a command means, and loading it as the options say.

#include <memory>
#include <string>

#include "app/options.h"
#include "vlm/llava_model.h"

namespace fovea::app {

/// The folder --model names, else default_model_folder(). Errors: not_found, with every place that
/// was looked at.
Result<std::string> find_model_folder(const ModelOptions& options);

/// The same for commands that look with a ViT alone: without --model and FOVEA_MODEL, the bundled
/// fovea-vit.
Result<std::string> find_classifier_folder(const ModelOptions& options);

/// Checks --device, --autotune and --dtype against what this build has, and puts the GPU's table of
/// algorithms to use. Errors: device, and those of use_algorithm_table(). Nothing falls back
/// silently.
Result<LoadOptions> load_options(const ModelOptions& options);

/// Errors: those of the two functions above and of LlavaModel::load.
Result<std::shared_ptr<const LlavaModel>> load_model(const ModelOptions& options);

}  // namespace fovea::app
