#pragma once
// Attention of answer tokens to the pictures, from a trace to one value per cell.

#include <optional>
#include <vector>

#include "vision/overlay.h"
#include "vlm/trace.h"

namespace fovea {

/// The last two thirds of a model's layers.
std::vector<int> default_layers(int layers);

/// What the chosen layers and answer tokens saw of one picture.
struct AttentionVolume {
  std::vector<int> layers;
  std::vector<int> tokens;  // indices into the answer
  int heads = 0, rows = 0, cols = 0;
  PixelRect rect;             // where the grid lies on the picture
  std::vector<float> values;  // [layers, heads, tokens, rows, cols]; NaN: pruned before that layer

  std::int64_t cells() const { return static_cast<std::int64_t>(rows) * cols; }
};

/// One volume per picture of the prompt. Errors: too_large (more than 1 GiB of numbers), and those
/// of Trace::visual_map.
Result<std::vector<AttentionVolume>> collect_attention(Context& context, const Trace& trace,
                                                       const std::vector<int>& layers,
                                                       const std::vector<int>& tokens);

/// Mean over heads, layers and tokens (or of one token alone: `token` is an index into
/// volume.tokens) of the values that are there; NaN where a cell was pruned before every layer.
GridMap mean_map(const AttentionVolume& volume, std::optional<int> token = std::nullopt);

}  // namespace fovea
