// Shapes for benchmarks on random weights: no checkpoint is needed to time a model of this size.

#include "vlm/llava_config.h"

namespace fovea {
namespace {

LlavaConfig llava_1_5(const std::string& name) {
  LlavaConfig config;  // the defaults are LLaVA-1.5-7B's tower and decoder sizes
  config.model_id = name;
  config.decoder.vocab_size = 32064;
  config.decoder.max_positions = 4096;
  config.decoder.rms_norm_eps = 1e-5;
  return config;
}

LlavaConfig llava_1_5_13b(const std::string& name) {
  LlavaConfig config = llava_1_5(name);
  config.decoder.hidden_size = 5120;
  config.decoder.intermediate_size = 13824;
  config.decoder.layers = 40;
  config.decoder.heads = config.decoder.kv_heads = 40;
  return config;
}

/// LLaVA-1.5-7B's decoder alone, with positions enough for the tokens of videos.
LlavaConfig vicuna_7b(const std::string& name) {
  LlavaConfig config = llava_1_5(name);
  config.decoder.max_positions = 32768;
  config.vision.layers = 0;
  config.vision_run_layers = 0;
  return config;
}

/// TinyLlama's decoder (arXiv 2401.02385), alone.
LlavaConfig llama_1_1b(const std::string& name) {
  LlavaConfig config;
  config.model_id = name;
  config.decoder.hidden_size = 2048;
  config.decoder.intermediate_size = 5632;
  config.decoder.layers = 22;
  config.decoder.heads = 32;
  config.decoder.kv_heads = 4;
  config.decoder.head_dim = 64;
  config.decoder.rms_norm_eps = 1e-5;
  config.vision.layers = 0;
  config.vision_run_layers = 0;
  return config;
}

/// assets/models/fovea-base; a test holds it equal to the shipped configuration.
LlavaConfig fovea_base(const std::string& name) {
  LlavaConfig config;
  config.model_id = name;
  config.decoder.vocab_size = 1664;
  config.decoder.max_positions = 6144;
  config.decoder.hidden_size = 256;
  config.decoder.intermediate_size = 544;
  config.decoder.layers = 12;
  config.decoder.heads = 8;
  config.decoder.kv_heads = 4;
  config.decoder.head_dim = 32;
  config.decoder.rms_norm_eps = 1e-5;
  config.decoder.tie_embeddings = true;
  config.vision.hidden_size = 192;
  config.vision.intermediate_size = 768;
  config.vision.layers = 8;
  config.vision.heads = 6;
  config.vision_run_layers = 7;
  config.image_token_id = 1600;
  return config;
}

}  // namespace

Result<LlavaConfig> bench_shape(const std::string& name) {
  if (name == "llava-1.5-7b") return llava_1_5(name);
  if (name == "llava-1.5-13b") return llava_1_5_13b(name);
  if (name == "vicuna-7b") return vicuna_7b(name);
  if (name == "llama-1.1b") return llama_1_1b(name);
  if (name == "fovea-base") return fovea_base(name);
  return make_error(ErrorCode::usage, "no shape is called \"" + name + "\"")
      .in_field("--shape")
      .with_remedy("Choose one of: llava-1.5-7b, llava-1.5-13b, vicuna-7b, llama-1.1b, fovea-base");
}

}  // namespace fovea
