#pragma once
// The attention of one answer token to every visual token of its prompt, in every layer and head,
// and the ways of looking at it.

#include <vector>

#include "gui/run.h"
#include "vision/overlay.h"

namespace fovea::gui {

/// Which heads: their mean, their largest value, or one of them.
struct HeadChoice {
  enum class Kind { mean, max, one } kind = Kind::mean;
  int head = 0;  // for Kind::one
  bool operator==(const HeadChoice&) const = default;
};

/// Which part of a token's attention is looked at.
struct MapChoice {
  static constexpr int kMeanOfLayers = -1;
  int layer = kMeanOfLayers;  // the mean is over default_layers(), as `fovea heatmap` draws it
  HeadChoice heads;
  bool operator==(const MapChoice&) const = default;
};

/// The nearest choice that a model with so many layers and heads has.
MapChoice within(MapChoice choice, int layers, int heads);

struct TokenMaps {
  int layers = 0, heads = 0;
  std::int64_t visual = 0;    // ids, those of tokens that never entered the decoder included
  std::vector<float> values;  // [layers, heads, visual]; NaN: pruned before that layer

  const float* row(int layer, int head) const {
    return &values[(static_cast<std::size_t>(layer) * static_cast<std::size_t>(heads) +
                    static_cast<std::size_t>(head)) *
                   static_cast<std::size_t>(visual)];
  }
};

/// Errors: those of Trace::visual_map.
Result<TokenMaps> compute_token_maps(Context& context, const Trace& trace, int token);

/// One value per visual token; NaN where it was pruned before every layer that was chosen.
std::vector<float> reduce_maps(const TokenMaps& maps, const MapChoice& wanted);

/// Part of the attention that lies on the pictures, 0 to 1: the sum of a row, reduced over layers
/// and heads in the same way.
double attention_share(const TokenMaps& maps, const MapChoice& wanted);

/// Values per visual token put into the cells of a picture; NaN in cells without a token.
GridMap place_on_grid(const std::vector<float>& values, const Run::Grid& grid);

/// "mean of layers 4-11", "layer 7"; "mean of heads", "head 3".
QString layer_text(const MapChoice& choice, int layers);
QString head_text(const MapChoice& choice);

}  // namespace fovea::gui
