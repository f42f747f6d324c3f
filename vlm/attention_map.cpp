#include "vlm/attention_map.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace fovea {
namespace {

constexpr std::int64_t kMaxValues = std::int64_t{1} << 28;  // 1 GiB of float32

/// An empty volume for each picture, with the grid and the rectangle its tokens span.
std::vector<AttentionVolume> volumes_of(const SequenceLayout& layout) {
  std::vector<AttentionVolume> volumes;
  for (const VisualToken& token : layout.visual) {
    if (token.row < 0 || token.col < 0 || token.image < 0) continue;
    if (static_cast<std::size_t>(token.image) >= volumes.size()) {
      volumes.resize(static_cast<std::size_t>(token.image) + 1);
    }
    AttentionVolume& volume = volumes[static_cast<std::size_t>(token.image)];
    const double right = static_cast<double>(token.x) + token.width;
    const double bottom = static_cast<double>(token.y) + token.height;
    if (volume.rows == 0) {
      volume.rect = {token.x, token.y, token.width, token.height};
    } else {
      const double x = std::min<double>(volume.rect.x, token.x);
      const double y = std::min<double>(volume.rect.y, token.y);
      volume.rect.width = std::max(volume.rect.x + volume.rect.width, right) - x;
      volume.rect.height = std::max(volume.rect.y + volume.rect.height, bottom) - y;
      volume.rect.x = x;
      volume.rect.y = y;
    }
    volume.rows = std::max(volume.rows, token.row + 1);
    volume.cols = std::max(volume.cols, token.col + 1);
  }
  return volumes;
}

}  // namespace

std::vector<int> default_layers(int layers) {
  std::vector<int> chosen;
  for (int layer = layers / 3; layer < layers; ++layer) chosen.push_back(layer);
  return chosen;
}

Result<std::vector<AttentionVolume>> collect_attention(Context& context, const Trace& trace,
                                                       const std::vector<int>& layers,
                                                       const std::vector<int>& tokens) {
  const SequenceLayout& layout = trace.layout();
  const std::int64_t visual = layout.id_count();
  const auto heads = static_cast<std::int64_t>(trace.heads());
  std::vector<AttentionVolume> volumes = volumes_of(layout);
  std::int64_t total = 0;
  for (AttentionVolume& volume : volumes) {
    volume.layers = layers;
    volume.tokens = tokens;
    volume.heads = trace.heads();
    total += static_cast<std::int64_t>(layers.size() * tokens.size()) * heads * volume.cells();
    if (total > kMaxValues) {
      return make_error(ErrorCode::too_large, "the maps of " + std::to_string(layers.size()) +
                                                  " layers, " + std::to_string(heads) +
                                                  " heads and " + std::to_string(tokens.size()) +
                                                  " tokens take more than 1 GiB")
          .with_remedy("Choose fewer layers or tokens");
    }
  }
  for (AttentionVolume& volume : volumes) {
    const auto maps = static_cast<std::int64_t>(layers.size() * tokens.size()) * heads;
    volume.values.assign(static_cast<std::size_t>(maps * volume.cells()),
                         std::numeric_limits<float>::quiet_NaN());
  }
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      FOVEA_TRY(const std::vector<float> map, trace.visual_map(context, layers[l], tokens[t]));
      if (static_cast<std::int64_t>(map.size()) != heads * visual) {
        return make_error(ErrorCode::internal, "an attention map has the wrong size");
      }
      for (std::int64_t id = 0; id < visual; ++id) {
        const VisualToken& token = layout.visual[static_cast<std::size_t>(id)];
        if (token.row < 0 || token.col < 0 || token.image < 0) continue;
        AttentionVolume& volume = volumes[static_cast<std::size_t>(token.image)];
        const std::int64_t cell = static_cast<std::int64_t>(token.row) * volume.cols + token.col;
        for (std::int64_t head = 0; head < heads; ++head) {
          const std::int64_t row = (static_cast<std::int64_t>(l) * heads + head) *
                                       static_cast<std::int64_t>(tokens.size()) +
                                   static_cast<std::int64_t>(t);
          volume.values[static_cast<std::size_t>(row * volume.cells() + cell)] =
              map[static_cast<std::size_t>(head * visual + id)];
        }
      }
    }
  }
  return volumes;
}

GridMap mean_map(const AttentionVolume& volume, std::optional<int> token) {
  const std::int64_t cells = volume.cells();
  const auto tokens = static_cast<std::int64_t>(volume.tokens.size());
  const auto maps = static_cast<std::int64_t>(volume.layers.size()) * volume.heads * tokens;
  std::vector<double> sum(static_cast<std::size_t>(cells), 0.0);
  std::vector<std::int64_t> count(static_cast<std::size_t>(cells), 0);
  for (std::int64_t map = 0; map < maps; ++map) {
    if (token && map % tokens != *token) continue;
    for (std::int64_t cell = 0; cell < cells; ++cell) {
      const float value = volume.values[static_cast<std::size_t>(map * cells + cell)];
      if (std::isnan(value)) continue;
      sum[static_cast<std::size_t>(cell)] += value;
      ++count[static_cast<std::size_t>(cell)];
    }
  }
  GridMap mean;
  mean.rows = volume.rows;
  mean.cols = volume.cols;
  mean.rect = volume.rect;
  mean.values.resize(static_cast<std::size_t>(cells));
  for (std::size_t cell = 0; cell < mean.values.size(); ++cell) {
    mean.values[cell] = count[cell] > 0
                            ? static_cast<float>(sum[cell] / static_cast<double>(count[cell]))
                            : std::numeric_limits<float>::quiet_NaN();
  }
  return mean;
}

}  // namespace fovea
