#pragma once
// Where the files that come with Fovea lie: models, samples.

#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

/// Places in which a bundled file or folder ("models/fovea-base", "samples") is looked for, in
/// order: beside the installed program (PREFIX/share/fovea/NAME), then assets/NAME in the folders
/// above the program (a source tree that holds its build folder).
std::vector<std::string> bundled_places(const std::string& executable, const std::string& name);

/// The first of these places, for the running program, that is there. Errors: not_found, with every
/// place that was looked at.
Result<std::string> find_bundled(const std::string& name);

/// The model folder to use when the user names none: the one FOVEA_MODEL names, else the bundled
/// fovea-base. Errors: not_found.
Result<std::string> default_model_folder();

}  // namespace fovea
