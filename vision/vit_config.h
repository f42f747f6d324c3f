#pragma once
// What a Vision Transformer is made of: one description for CLIP, ViT/DeiT, face and UNIP towers.

#include <cmath>
#include <cstdint>
#include <string>

#include "kernels/base/json.h"
#include "kernels/ops/linear/linear.h"

namespace fovea {

/// The defaults are LLaVA-1.5's CLIP ViT-L/14 at 336 pixels.
struct VitConfig {
  std::int64_t hidden_size = 1024;
  std::int64_t intermediate_size = 4096;
  std::int64_t layers = 24;
  std::int64_t heads = 16;
  std::int64_t channels = 3;
  std::int64_t image_size = 336;  // square input
  std::int64_t patch_size = 14;
  double layer_norm_eps = 1e-5;
  Activation activation = Activation::quick_gelu;
  bool pre_norm = true;  // CLIP's norm before the first block
  bool patch_bias = false;
  bool qkv_bias = true;
  bool distillation_token = false;  // DeiT's second token, after the class token (arXiv 2012.12877)
  /// Grid side of the stored position table where it differs from grid(): the table is resampled
  /// when it is loaded. 0: grid().
  std::int64_t position_grid = 0;

  std::int64_t grid() const { return image_size / patch_size; }
  std::int64_t patches() const { return grid() * grid(); }
  std::int64_t prefix_tokens() const { return distillation_token ? 2 : 1; }
  std::int64_t tokens() const { return prefix_tokens() + patches(); }  // class token first
  std::int64_t stored_grid() const { return position_grid > 0 ? position_grid : grid(); }
  std::int64_t head_dim() const { return hidden_size / heads; }
  float attention_scale() const { return 1.0F / std::sqrt(static_cast<float>(head_dim())); }
};

/// Reads the `vision_config` of a LLaVA config.json (or a clip_vision_model's own config). Absent
/// fields take CLIPVisionConfig's defaults as transformers defines them (768, 3072, 12, 12, 224,
/// 32, quick_gelu, 1e-5). Values are bounded against each other; errors name file and field.
Result<VitConfig> parse_clip_vision_config(const Json& json, const std::string& file);

/// Reads the config.json of a Hugging Face ViT or DeiT (`model_type` vit or deit). Absent fields
/// take the defaults transformers gives both (768, 3072, 12, 12, 224, 16, gelu, 1e-12, qkv_bias).
/// Pictures may have 1 or 3 channels; a deit has a distillation token. Errors as above.
Result<VitConfig> parse_vit_config(const Json& json, const std::string& file);

/// Checks what the parsers check about sizes that must fit together: heads divide the hidden size,
/// patches the picture, and the number of tokens stays in bounds. `prefix` as in ConfigFields.
Status check_vit_sizes(const VitConfig& config, const std::string& file,
                       const std::string& prefix = "");

/// The same tower on pictures of another side: its positions are resampled at load. Errors: usage
/// (not a multiple of the patch size, out of bounds).
Result<VitConfig> with_image_size(const VitConfig& config, std::int64_t side);

}  // namespace fovea
