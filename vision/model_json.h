#pragma once
// The JSON files of a model folder.

#include <optional>
#include <string>

#include "kernels/base/json.h"

namespace fovea {

/// Reads FOLDER/NAME, a JSON object of at most 16 MiB. Errors: not_found, io, too_large, bad_model.
Result<Json> read_model_json(const std::string& folder, const std::string& name);
/// The same; nothing when there is no such file.
Result<std::optional<Json>> read_optional_model_json(const std::string& folder,
                                                     const std::string& name);
std::string path_in(const std::string& folder, const std::string& name);

}  // namespace fovea
