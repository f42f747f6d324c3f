#include "gui/token_maps.h"

#include <QObject>
#include <algorithm>
#include <cmath>
#include <limits>

#include "vlm/attention_map.h"

namespace fovea::gui {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<int> chosen_layers(const MapChoice& choice, int layers) {
  if (choice.layer == MapChoice::kMeanOfLayers) return default_layers(layers);
  return {choice.layer};
}

/// One value per visual token of one layer.
std::vector<float> reduce_heads(const TokenMaps& maps, int layer, const HeadChoice& choice) {
  const auto visual = static_cast<std::size_t>(maps.visual);
  if (choice.kind == HeadChoice::Kind::one) {
    const float* row = maps.row(layer, choice.head);
    return {row, row + visual};
  }
  // A token is pruned for all heads of a layer or for none.
  std::vector<float> reduced(maps.row(layer, 0), maps.row(layer, 0) + visual);
  for (int head = 1; head < maps.heads; ++head) {
    const float* row = maps.row(layer, head);
    for (std::size_t id = 0; id < visual; ++id) {
      reduced[id] = choice.kind == HeadChoice::Kind::mean ? reduced[id] + row[id]
                                                          : std::max(reduced[id], row[id]);
    }
  }
  if (choice.kind == HeadChoice::Kind::mean) {
    for (float& value : reduced) value /= static_cast<float>(maps.heads);
  }
  return reduced;
}

}  // namespace

MapChoice within(MapChoice choice, int layers, int heads) {
  choice.layer = std::min(choice.layer, layers - 1);
  choice.heads.head = std::clamp(choice.heads.head, 0, heads - 1);
  return choice;
}

Result<TokenMaps> compute_token_maps(Context& context, const Trace& trace, int token) {
  TokenMaps maps;
  maps.layers = trace.layers();
  maps.heads = trace.heads();
  maps.visual = trace.layout().id_count();
  maps.values.reserve(static_cast<std::size_t>(maps.layers) * static_cast<std::size_t>(maps.heads) *
                      static_cast<std::size_t>(maps.visual));
  for (int layer = 0; layer < maps.layers; ++layer) {
    FOVEA_TRY(const std::vector<float> map, trace.visual_map(context, layer, token));
    maps.values.insert(maps.values.end(), map.begin(), map.end());
  }
  return maps;
}

std::vector<float> reduce_maps(const TokenMaps& maps, const MapChoice& wanted) {
  const MapChoice choice = within(wanted, maps.layers, maps.heads);
  const auto visual = static_cast<std::size_t>(maps.visual);
  std::vector<float> sum(visual, 0.0F);
  std::vector<int> count(visual, 0);
  for (const int layer : chosen_layers(choice, maps.layers)) {
    const std::vector<float> reduced = reduce_heads(maps, layer, choice.heads);
    for (std::size_t id = 0; id < visual; ++id) {
      if (std::isnan(reduced[id])) continue;
      sum[id] += reduced[id];
      ++count[id];
    }
  }
  for (std::size_t id = 0; id < visual; ++id) {
    sum[id] = count[id] > 0 ? sum[id] / static_cast<float>(count[id]) : kNaN;
  }
  return sum;
}

double attention_share(const TokenMaps& maps, const MapChoice& wanted) {
  const MapChoice choice = within(wanted, maps.layers, maps.heads);
  const std::vector<int> layers = chosen_layers(choice, maps.layers);
  double total = 0;
  for (const int layer : layers) {
    double reduced = 0;
    for (int head = 0; head < maps.heads; ++head) {
      if (choice.heads.kind == HeadChoice::Kind::one && head != choice.heads.head) continue;
      const float* row = maps.row(layer, head);
      double on_pictures = 0;
      for (std::int64_t id = 0; id < maps.visual; ++id) {
        if (!std::isnan(row[id])) on_pictures += row[id];
      }
      if (choice.heads.kind == HeadChoice::Kind::max) {
        reduced = std::max(reduced, on_pictures);
      } else {
        reduced += on_pictures;
      }
    }
    if (choice.heads.kind == HeadChoice::Kind::mean) reduced /= maps.heads;
    total += reduced;
  }
  return total / static_cast<double>(layers.size());
}

GridMap place_on_grid(const std::vector<float>& values, const Run::Grid& grid) {
  GridMap map;
  map.rows = grid.rows;
  map.cols = grid.cols;
  map.rect = grid.rect;
  for (const std::int32_t id : grid.ids) {
    const bool there = id >= 0 && static_cast<std::size_t>(id) < values.size();
    map.values.push_back(there ? values[static_cast<std::size_t>(id)] : kNaN);
  }
  return map;
}

QString layer_text(const MapChoice& choice, int layers) {
  if (choice.layer != MapChoice::kMeanOfLayers) return QObject::tr("layer %1").arg(choice.layer);
  const std::vector<int> mean = default_layers(layers);
  if (mean.empty()) return {};
  return QObject::tr("mean of layers %1\u2013%2").arg(mean.front()).arg(mean.back());
}

QString head_text(const MapChoice& choice) {
  switch (choice.heads.kind) {
    case HeadChoice::Kind::mean:
      return QObject::tr("mean of heads");
    case HeadChoice::Kind::max:
      return QObject::tr("largest of heads");
    case HeadChoice::Kind::one:
      return QObject::tr("head %1").arg(choice.heads.head);
  }
  return {};
}

}  // namespace fovea::gui
