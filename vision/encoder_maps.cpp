#include "vision/encoder_maps.h"

#include <algorithm>
#include <string>

#include "vision/digits.h"

namespace fovea {

namespace {

constexpr int kSheetCell = 96, kSheetGap = 6, kSheetMargin = 34;

/// The patches' part of [heads, tokens], appended head by head.
void append_patches(const std::vector<float>& from, const AttentionStatistics& statistics,
                    std::int64_t prefix, std::vector<float>& to) {
  for (std::int64_t head = 0; head < statistics.heads; ++head) {
    const auto begin = from.begin() + head * statistics.tokens;
    to.insert(to.end(), begin + prefix, begin + statistics.tokens);
  }
}

}  // namespace

GridMap EncoderMaps::grid(std::vector<float> values) const {
  GridMap map;
  map.rows = rows;
  map.cols = cols;
  map.rect = rect;
  map.values = std::move(values);
  return map;
}

GridMap EncoderMaps::mean(const std::vector<float>& volume, const std::vector<int>& of_layers,
                          const std::vector<int>& of_heads) const {
  std::vector<double> sum(static_cast<std::size_t>(cells()), 0.0);
  for (const int layer : of_layers) {
    for (const int head : of_heads) {
      const float* map = &volume[static_cast<std::size_t>((layer * heads + head) * cells())];
      for (std::size_t cell = 0; cell < sum.size(); ++cell) sum[cell] += map[cell];
    }
  }
  const auto count = static_cast<double>(of_layers.size() * of_heads.size());
  std::vector<float> values;
  for (const double total : sum) values.push_back(static_cast<float>(total / count));
  return grid(std::move(values));
}

Result<EncoderMaps> read_encoder(Context& context, const VitEncoder& encoder,
                                 const PreparedImage& picture, const EncoderMapRequest& request) {
  const VitConfig& config = encoder.config();
  const std::int64_t prefix = config.prefix_tokens();
  EncoderMaps maps;
  maps.layers = encoder.run_layers();
  maps.heads = config.heads;
  maps.rows = maps.cols = static_cast<int>(config.grid());
  maps.rect = picture.rect;
  AttentionTrace trace;
  const auto observer = [&](Context& running, const VitBlockView& block) -> Status {
    FOVEA_TRY(const AttentionStatistics statistics,
              attention_statistics(running, block, 0, request.drop_special_tokens ? prefix : 0));
    append_patches(statistics.class_row, statistics, prefix, maps.class_maps);
    append_patches(statistics.received, statistics, prefix, maps.received_maps);
    maps.nmi.push_back(statistics.nmi);
    return request.rollout ? trace.record(block, 0) : Status();
  };
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView states,
            context.workspace.take({config.tokens(), config.hidden_size}, DType::f32));
  FOVEA_CHECK(encoder.forward(context, picture.pixels.view(), states, observer));
  if (request.rollout) {
    FOVEA_TRY(const std::vector<float> flow,
              attention_rollout(context.host(), trace, *request.rollout));
    maps.rollout.assign(flow.begin() + prefix, flow.end());
  }
  return maps;
}

Result<Image> draw_map_sheet(const EncoderMaps& maps, const std::vector<float>& volume,
                             ColorMap colors) {
  const std::int64_t width = kSheetMargin + maps.heads * (kSheetCell + kSheetGap);
  const std::int64_t height = kSheetMargin + maps.layers * (kSheetCell + kSheetGap);
  if (width > kMaxImageSide || height > kMaxImageSide) {
    return make_error(ErrorCode::too_large, "a sheet of " + std::to_string(maps.layers) + " x " +
                                                std::to_string(maps.heads) +
                                                " maps is larger than a picture may be");
  }
  if (std::ssize(volume) != maps.layers * maps.heads * maps.cells()) {
    return make_error(ErrorCode::usage, "the maps of a sheet do not have the sizes they should");
  }
  Image sheet = Image::filled(static_cast<int>(width), static_cast<int>(height), 255, 255, 255);
  constexpr std::array<std::uint8_t, 3> ink{40, 40, 48};
  const auto place = [](std::int64_t index) {
    return kSheetMargin + static_cast<int>(index) * (kSheetCell + kSheetGap);
  };
  for (std::int64_t layer = 0; layer < maps.layers; ++layer) {
    draw_text(sheet, std::to_string(layer), 4, place(layer) + kSheetCell / 2, 2, ink);
    for (std::int64_t head = 0; head < maps.heads; ++head) {
      if (layer == 0) {
        draw_text(sheet, std::to_string(head), place(head) + kSheetCell / 2, 10, 2, ink);
      }
      const float* map =
          &volume[static_cast<std::size_t>((layer * maps.heads + head) * maps.cells())];
      const float largest = *std::max_element(map, map + maps.cells());
      for (int y = 0; y < kSheetCell; ++y) {
        for (int x = 0; x < kSheetCell; ++x) {
          const float value =
              map[y * maps.rows / kSheetCell * maps.cols + x * maps.cols / kSheetCell];
          const auto color = color_of(colors, largest > 0 ? value / largest : 0.0);
          std::copy_n(color.data(), 3, sheet.pixel(place(head) + x, place(layer) + y));
        }
      }
    }
  }
  return sheet;
}

}  // namespace fovea
