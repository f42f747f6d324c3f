#pragma once
// All that reading a vision tower gives for one picture.

#include <cstdint>
#include <optional>
#include <vector>

#include "vision/attention_rollout.h"
#include "vision/attention_statistics.h"
#include "vision/overlay.h"
#include "vision/preprocess.h"
#include "vision/vit.h"

namespace fovea {

struct EncoderMapRequest {
  bool drop_special_tokens = false;  // as attention_statistics()
  std::optional<RolloutOptions> rollout;
};

/// Maps over the patches of one picture.
struct EncoderMaps {
  std::int64_t layers = 0, heads = 0;
  int rows = 0, cols = 0;
  PixelRect rect;                        // where the grid lies on the picture
  std::vector<float> class_maps;         // [layers, heads, rows, cols]
  std::vector<float> received_maps;      // [layers, heads, rows, cols]
  std::vector<float> rollout;            // [rows, cols]; empty unless asked for
  std::vector<std::vector<double>> nmi;  // [layers][heads]

  std::int64_t cells() const { return static_cast<std::int64_t>(rows) * cols; }
  /// One map of a volume [layers, heads, rows, cols], averaged over these layers and heads.
  GridMap mean(const std::vector<float>& volume, const std::vector<int>& of_layers,
               const std::vector<int>& of_heads) const;
  GridMap grid(std::vector<float> values) const;
};

/// Runs the tower over one prepared picture and watches. Errors: those of the encoder, of
/// attention_statistics() and of attention_rollout().
Result<EncoderMaps> read_encoder(Context& context, const VitEncoder& encoder,
                                 const PreparedImage& picture, const EncoderMapRequest& request);

/// Every map of a volume side by side: a row for each layer, a column for each head, each coloured
/// from zero to its own largest value, numbered. Errors: too_large (a sheet over 16384 pixels a
/// side), usage.
Result<Image> draw_map_sheet(const EncoderMaps& maps, const std::vector<float>& volume,
                             ColorMap colors);

}  // namespace fovea
