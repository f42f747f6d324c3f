#pragma once
// Everything a LLaVA-style checkpoint says about itself, with the defaults of absent fields that
// transformers uses, for both generations of config.json found in the wild.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vision/preprocess.h"
#include "vision/vit_config.h"

namespace fovea {

/// A Llama decoder (arXiv 2302.13971; grouped-query attention of arXiv 2305.13245).
struct DecoderConfig {
  std::int64_t vocab_size = 32000;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 11008;
  std::int64_t layers = 32;
  std::int64_t heads = 32;
  std::int64_t kv_heads = 32;
  std::int64_t head_dim = 128;
  double rope_theta = 10000.0;
  double rms_norm_eps = 1e-6;
  std::int64_t max_positions = 2048;
  bool tie_embeddings = false;
  bool attention_bias = false;
};

struct LlavaConfig {
  std::string model_id;  // folder name, for reports
  DecoderConfig decoder;
  VitConfig vision;
  PreprocessConfig preprocess;
  std::int64_t image_token_id = 32000;
  /// Hidden state of the tower that feeds the projector, as an index into its layers + 1 hidden
  /// states: -2 becomes layers - 1, that is the output of all blocks but the last.
  int vision_run_layers = 23;
  bool drop_class_token = true;  // select strategy "default"; false for "full"
  Activation projector_activation = Activation::gelu_erf;
  bool projector_bias = true;
  std::int64_t bos_token_id = 1;
  std::vector<std::int64_t> eos_token_ids{2};
  std::int64_t pad_token_id = 0;
  std::string chat_template;  // the model's own template text; empty when it has none
  std::optional<int> default_max_new_tokens;
  std::string image_aspect_ratio;  // "pad" in original LLaVA configs
  std::vector<std::string> notes;  // what was assumed or ignored and is worth saying once

  std::int64_t visual_tokens_per_image() const {
    return vision.patches() + (drop_class_token ? 0 : 1);
  }
};

/// Reads config.json, generation_config.json, preprocessor_config.json or processor_config.json,
/// chat_template.json / chat_template.jinja / tokenizer_config.json from a model folder. Values are
/// untrusted: each is bounded, and bounded against the others. Without any preprocessing file,
/// CLIP's own steps at the tower's size are assumed, and noted. Errors: not_found, bad_model and
/// unsupported, naming file and field (unsupported: another model_type, rope scaling, an unknown
/// activation, feature layers given as a list, ...).
Result<LlavaConfig> read_llava_config(const std::string& folder);

/// The shapes `fovea bench --shape` knows: llava-1.5-7b, llava-1.5-13b, vicuna-7b, llama-1.1b,
/// fovea-base. vicuna-7b and llama-1.1b have no vision tower (vision.layers == 0).
Result<LlavaConfig> bench_shape(const std::string& name);

/// Prefixes under which a checkpoint keeps its four parts; three namings are in use.
struct LlavaNaming {
  std::string vision;     // e.g. "vision_tower.vision_model."
  std::string projector;  // "multi_modal_projector."
  std::string decoder;    // "language_model.model."
  std::string lm_head;    // "language_model.lm_head.weight"
  std::string name;       // for reports
};

class WeightFiles;

/// Finds the naming by the tensors that are there; lm_head is named whether it is there or not
/// (tied embeddings need none). Errors: bad_model, with the keys looked for; unsupported, for the
/// layout of the original LLaVA.
Result<LlavaNaming> detect_llava_naming(const WeightFiles& files);

}  // namespace fovea
