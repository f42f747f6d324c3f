#pragma once
// Layers as a user writes them.

#include <string>
#include <vector>

#include "kernels/base/error.h"

namespace fovea::app {

/// "all", "A-B" or a list such as "3,5,8-11"; empty: default_layers() of vlm/attention_map.h.
/// Ascending, each once. Errors: usage.
Result<std::vector<int>> parse_layers(const std::string& text, int layers);

}  // namespace fovea::app
