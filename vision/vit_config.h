#pragma once
// What a Vision Transformer is made of: one description for CLIP, ViT/DeiT, face and UNIP towers.

#include <cmath>
#include <cstdint>
#include <string>

#include "kernels/base/json.h"
#include "kernels/ops/linear/linear.h"

namespace fovea {

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

  std::int64_t grid() const { return image_size / patch_size; }
  std::int64_t patches() const { return grid() * grid(); }
  std::int64_t tokens() const { return patches() + 1; }  // class token first
  std::int64_t head_dim() const { return hidden_size / heads; }
  float attention_scale() const { return 1.0F / std::sqrt(static_cast<float>(head_dim())); }
};

/// Reads the `vision_config` of a LLaVA config.json (or a clip_vision_model's own config). Absent
/// fields take CLIPVisionConfig's defaults as transformers defines them (768, 3072, 12, 12, 224,
/// 32, quick_gelu, 1e-5). Values are bounded against each other; errors name file and field.
Result<VitConfig> parse_clip_vision_config(const Json& json, const std::string& file);

}  // namespace fovea
