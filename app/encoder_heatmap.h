#pragma once
// fovea heatmap --encoder: the attention of a vision tower, as maps and as numbers.

#include "app/options.h"

namespace fovea::app {

int run_encoder_heatmap(const HeatmapOptions& options);

}  // namespace fovea::app
