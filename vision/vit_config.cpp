#include "vision/vit_config.h"

#include "vision/config_fields.h"

namespace fovea {

namespace {

// Bounds are well above every tower in use (the largest have 1,664 channels, 48 blocks, 448 pixels)
// and low enough that no product of them overflows or fills a machine by itself.
constexpr std::int64_t kMaxWidth = 16384, kMaxIntermediate = 65536, kMaxLayers = 256;
constexpr std::int64_t kMaxSide = 4096, kMaxTokens = 65536;

/// What transformers assumes where a file says nothing.
struct Defaults {
  std::int64_t patch_size;
  double layer_norm_eps;
  const char* activation;
};

Result<Activation> parse_activation(const ConfigFields& fields, const char* absent) {
  FOVEA_TRY(const std::string name, fields.text("hidden_act", absent));
  if (name == "quick_gelu") return Activation::quick_gelu;
  if (name == "gelu") return Activation::gelu_erf;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "relu") return Activation::relu;
  return fields.error("hidden_act", "the activation '" + name.substr(0, 60) + "' is not supported",
                      ErrorCode::unsupported);
}

/// The fields that every kind of tower has under the same names.
Result<VitConfig> parse_sizes(const ConfigFields& fields, const Defaults& defaults) {
  VitConfig config;
  FOVEA_TRY(config.hidden_size, fields.integer("hidden_size", 768, 1, kMaxWidth));
  FOVEA_TRY(config.intermediate_size,
            fields.integer("intermediate_size", 3072, 1, kMaxIntermediate));
  FOVEA_TRY(config.layers, fields.integer("num_hidden_layers", 12, 1, kMaxLayers));
  FOVEA_TRY(config.heads, fields.integer("num_attention_heads", 12, 1, config.hidden_size));
  FOVEA_TRY(config.channels, fields.integer("num_channels", 3, 1, kMaxSide));
  FOVEA_TRY(config.image_size, fields.integer("image_size", 224, 1, kMaxSide));
  FOVEA_TRY(config.patch_size,
            fields.integer("patch_size", defaults.patch_size, 1, config.image_size));
  FOVEA_TRY(config.layer_norm_eps,
            fields.number("layer_norm_eps", defaults.layer_norm_eps, 0.0, 1.0));
  FOVEA_TRY(config.activation, parse_activation(fields, defaults.activation));
  return config;
}

}  // namespace

Status check_vit_sizes(const VitConfig& config, const std::string& file,
                       const std::string& prefix) {
  const Json none = Json::object();
  const ConfigFields fields(none, file, prefix);
  if (config.hidden_size % config.heads != 0) {
    return fields.error("num_attention_heads", std::to_string(config.heads) +
                                                   " heads do not divide a hidden size of " +
                                                   std::to_string(config.hidden_size));
  }
  if (config.image_size % config.patch_size != 0) {
    return fields.error("patch_size", "patches of " + std::to_string(config.patch_size) +
                                          " pixels do not divide a picture of " +
                                          std::to_string(config.image_size));
  }
  if (config.tokens() > kMaxTokens) {
    return fields.error(
        "patch_size",
        std::to_string(config.patches()) + " patches; the limit is " + std::to_string(kMaxTokens),
        ErrorCode::too_large);
  }
  return {};
}

Result<VitConfig> parse_clip_vision_config(const Json& json, const std::string& file) {
  const Json* inner = json.find("vision_config");
  const bool nested = inner != nullptr && inner->is_object();
  if (!nested && !json.is_object()) {
    return make_error(ErrorCode::bad_model, "expected a JSON object").in_file(file);
  }
  const std::string prefix = nested ? "vision_config." : "";
  const ConfigFields fields(nested ? *inner : json, file, prefix);

  FOVEA_TRY(const std::string type, fields.text("model_type", "clip_vision_model"));
  if (type != "clip_vision_model") {
    return fields.error("model_type",
                        "the vision tower '" + type.substr(0, 60) + "' is not supported",
                        ErrorCode::unsupported);
  }
  FOVEA_TRY(VitConfig config, parse_sizes(fields, {32, 1e-5, "quick_gelu"}));
  if (config.channels != 3) {
    return fields.error("num_channels",
                        "expected 3 (red, green, blue), found " + std::to_string(config.channels),
                        ErrorCode::unsupported);
  }
  FOVEA_CHECK(check_vit_sizes(config, file, prefix));
  return config;
}

Result<VitConfig> parse_vit_config(const Json& json, const std::string& file) {
  if (!json.is_object()) {
    return make_error(ErrorCode::bad_model, "expected a JSON object").in_file(file);
  }
  const ConfigFields fields(json, file);
  FOVEA_TRY(const std::string type, fields.text("model_type", ""));
  if (type != "vit" && type != "deit") {
    return fields.error("model_type", "expected vit or deit, found '" + type.substr(0, 60) + "'",
                        ErrorCode::unsupported);
  }
  FOVEA_TRY(VitConfig config, parse_sizes(fields, {16, 1e-12, "gelu"}));
  config.pre_norm = false;
  config.patch_bias = true;
  config.distillation_token = type == "deit";
  FOVEA_TRY(config.qkv_bias, fields.boolean("qkv_bias", true));
  if (config.channels != 1 && config.channels != 3) {
    return fields.error(
        "num_channels",
        "expected 1 (grey) or 3 (red, green, blue), found " + std::to_string(config.channels),
        ErrorCode::unsupported);
  }
  FOVEA_CHECK(check_vit_sizes(config, file));
  return config;
}

Result<VitConfig> with_image_size(const VitConfig& config, std::int64_t side) {
  VitConfig resized = config;
  resized.position_grid = config.stored_grid();
  resized.image_size = side;
  if (side >= config.patch_size && side <= kMaxSide && side % config.patch_size == 0 &&
      resized.tokens() <= kMaxTokens) {
    return resized;
  }
  return make_error(ErrorCode::usage,
                    "this model cannot look at pictures of " + std::to_string(side) + " pixels")
      .with_remedy("Choose a multiple of its patch size, " + std::to_string(config.patch_size) +
                   ", up to " + std::to_string(kMaxSide));
}

}  // namespace fovea
