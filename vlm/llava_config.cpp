#include "vlm/llava_config.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <utility>

#include "kernels/base/checked.h"
#include "kernels/base/file.h"
#include "vision/config_fields.h"
#include "vision/model_json.h"

namespace fovea {
namespace {

// Bounds far above every published model, and far below what could overflow or exhaust memory
// before a weight file contradicts it.
constexpr std::int64_t kMaxVocabulary = 1'000'000;
constexpr std::int64_t kMaxHidden = 65'536;
constexpr std::int64_t kMaxIntermediate = 1 << 20;
constexpr std::int64_t kMaxLayers = 1'024;
constexpr std::int64_t kMaxHeads = 1'024;
constexpr std::int64_t kMaxHeadDim = 256;
constexpr std::int64_t kMaxPositions = 1 << 24;
constexpr std::int64_t kMaxMatrixElements = std::int64_t{1} << 36;
constexpr std::size_t kMaxEndTokens = 64;
constexpr std::int64_t kMaxNewTokens = 1'000'000;
constexpr std::size_t kMaxTemplateBytes = std::size_t{1} << 20;

constexpr const char* kSupportedModels =
    "Fovea reads LLaVA-1.5 checkpoints: model_type llava, a clip_vision_model tower and a llama "
    "decoder, in the llava-hf layout";

bool has(const ConfigFields& fields, const char* name) {
  return fields.find(name) != nullptr;
}

Error unsupported(const ConfigFields& fields, const char* name, std::string message) {
  return fields.error(name, std::move(message), ErrorCode::unsupported);
}

/// A text from the file, short enough for a message.
std::string quoted(const std::string& text) {
  return "\"" + text.substr(0, 60) + "\"";
}

/// A nested object, null when it is absent.
Result<const Json*> object(const ConfigFields& fields, const char* name) {
  const Json* value = fields.find(name);
  if (value != nullptr && !value->is_object()) return fields.error(name, "expected an object");
  return value;
}

/// The fields of an object that may be absent: then each takes its default.
ConfigFields fields_of(const Json* object, const std::string& file, const std::string& prefix) {
  static const Json none;
  return {object == nullptr ? none : *object, file, prefix};
}

Status check_matrix(const ConfigFields& fields, const char* field, std::int64_t rows,
                    std::int64_t columns) {
  const std::array<std::int64_t, 2> extents{rows, columns};
  const auto elements = checked_product(extents);
  if (elements && *elements <= kMaxMatrixElements) return {};
  return fields.error(field, "a matrix of " + std::to_string(rows) + " x " +
                                 std::to_string(columns) + " is larger than any model's");
}

// ---- Rotary positions -------------------------------------------------------------------------

/// Both generations say how positions rotate: rope_theta with rope_scaling (transformers 4), or
/// rope_parameters, which holds both (transformers 5).
Status check_rope_kind(const ConfigFields& text, const char* name, const std::string& file) {
  FOVEA_TRY(const Json* rope, object(text, name));
  if (rope == nullptr) return {};
  const ConfigFields fields(*rope, file, std::string("text_config.") + name + ".");
  for (const char* key : {"rope_type", "type"}) {
    FOVEA_TRY(const std::string kind, fields.text(key, "default"));
    if (kind != "default") {
      return unsupported(
          fields, key,
          "rotary positions of type " + quoted(kind) + "; only \"default\" is supported");
    }
  }
  for (const auto& [key, value] : rope->as_object()) {
    if (value.is_object()) {
      return fields.error(key, "rotary positions that differ between layers",
                          ErrorCode::unsupported);
    }
  }
  FOVEA_TRY(const double rotated, fields.number("partial_rotary_factor", 1.0, 0.0, 1.0));
  if (rotated != 1.0) {
    return unsupported(fields, "partial_rotary_factor", "heads that are rotated in part only");
  }
  return {};
}

Result<double> read_rope_theta(const ConfigFields& text, const std::string& file) {
  FOVEA_CHECK(check_rope_kind(text, "rope_scaling", file));
  FOVEA_CHECK(check_rope_kind(text, "rope_parameters", file));
  FOVEA_TRY(const double theta, text.number("rope_theta", 10000.0, 1.0, 1e12));
  FOVEA_TRY(const Json* rope, object(text, "rope_parameters"));
  const ConfigFields fields = fields_of(rope, file, "text_config.rope_parameters.");
  FOVEA_TRY(const double inner, fields.number("rope_theta", theta, 1.0, 1e12));
  if (has(text, "rope_theta") && inner != theta) {
    return fields.error("rope_theta", "differs from text_config.rope_theta");
  }
  return inner;
}

// ---- Decoder ----------------------------------------------------------------------------------

Result<DecoderConfig> parse_decoder(const Json* json, const std::string& file) {
  const ConfigFields text = fields_of(json, file, "text_config.");
  FOVEA_TRY(const std::string type, text.text("model_type", "llama"));
  if (type != "llama") {
    return unsupported(text, "model_type", "a decoder of type " + quoted(type))
        .with_remedy(kSupportedModels);
  }
  FOVEA_TRY(const std::string activation, text.text("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return unsupported(text, "hidden_act",
                       "activation " + quoted(activation) + "; only \"silu\" is supported");
  }
  FOVEA_TRY(const bool mlp_bias, text.boolean("mlp_bias", false));
  if (mlp_bias) return unsupported(text, "mlp_bias", "biases in the decoder's MLP");
  if (has(text, "quantization_config")) {
    return unsupported(text, "quantization_config", "quantised weights")
        .with_remedy("Use the checkpoint in F32, F16 or BF16");
  }

  DecoderConfig decoder;
  FOVEA_TRY(decoder.vocab_size, text.integer("vocab_size", 32000, 1, kMaxVocabulary));
  FOVEA_TRY(decoder.hidden_size, text.integer("hidden_size", 4096, 1, kMaxHidden));
  FOVEA_TRY(decoder.intermediate_size,
            text.integer("intermediate_size", 11008, 1, kMaxIntermediate));
  FOVEA_TRY(decoder.layers, text.integer("num_hidden_layers", 32, 1, kMaxLayers));
  FOVEA_TRY(decoder.heads, text.integer("num_attention_heads", 32, 1, kMaxHeads));
  FOVEA_TRY(decoder.kv_heads, text.integer("num_key_value_heads", decoder.heads, 1, kMaxHeads));
  if (decoder.heads % decoder.kv_heads != 0) {
    return text.error("num_key_value_heads", "expected a divisor of num_attention_heads, " +
                                                 std::to_string(decoder.heads) + ", found " +
                                                 std::to_string(decoder.kv_heads));
  }
  if (!has(text, "head_dim") && decoder.hidden_size % decoder.heads != 0) {
    return text.error("num_attention_heads", "expected a divisor of hidden_size, " +
                                                 std::to_string(decoder.hidden_size) + ", found " +
                                                 std::to_string(decoder.heads));
  }
  FOVEA_TRY(decoder.head_dim,
            text.integer("head_dim", decoder.hidden_size / decoder.heads, 1, kMaxHeadDim));
  if (decoder.head_dim % 2 != 0 || decoder.head_dim > kMaxHeadDim) {
    return unsupported(text, "head_dim",
                       "heads of width " + std::to_string(decoder.head_dim) +
                           "; an even width up to " + std::to_string(kMaxHeadDim) +
                           " is supported");
  }
  FOVEA_CHECK(check_matrix(text, "vocab_size", decoder.vocab_size, decoder.hidden_size));
  FOVEA_CHECK(
      check_matrix(text, "intermediate_size", decoder.intermediate_size, decoder.hidden_size));
  FOVEA_CHECK(
      check_matrix(text, "head_dim", decoder.heads * decoder.head_dim, decoder.hidden_size));

  FOVEA_TRY(decoder.rope_theta, read_rope_theta(text, file));
  FOVEA_TRY(decoder.rms_norm_eps, text.number("rms_norm_eps", 1e-6, 0.0, 1.0));
  FOVEA_TRY(decoder.max_positions, text.integer("max_position_embeddings", 2048, 1, kMaxPositions));
  FOVEA_TRY(decoder.tie_embeddings, text.boolean("tie_word_embeddings", false));
  FOVEA_TRY(decoder.attention_bias, text.boolean("attention_bias", false));
  return decoder;
}

// ---- Tower and projector ----------------------------------------------------------------------

Result<Activation> projector_activation(const ConfigFields& fields) {
  FOVEA_TRY(const std::string name, fields.text("projector_hidden_act", "gelu"));
  if (name == "gelu") return Activation::gelu_erf;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name == "quick_gelu") return Activation::quick_gelu;
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "relu") return Activation::relu;
  return unsupported(
      fields, "projector_hidden_act",
      "activation " + quoted(name) +
          "; gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, silu and relu are supported");
}

Status read_vision(const Json& json, const std::string& file, LlavaConfig& config) {
  const ConfigFields fields(json, file);
  FOVEA_TRY(const Json* tower, object(fields, "vision_config"));
  if (tower != nullptr) {  // without one, VitConfig's own defaults are LlavaConfig's CLIP ViT-L
    FOVEA_TRY(config.vision, parse_clip_vision_config(json, file));
  }

  const Json* layer = fields.find("vision_feature_layer");
  if (layer != nullptr && layer->is_array()) {
    return unsupported(fields, "vision_feature_layer",
                       "features of several layers; one layer is supported");
  }
  const std::int64_t layers = config.vision.layers;
  FOVEA_TRY(const std::int64_t index,
            fields.integer("vision_feature_layer", -2, -(layers + 1), layers));
  config.vision_run_layers = static_cast<int>(index < 0 ? layers + 1 + index : index);
  if (config.vision_run_layers < 1) {
    return unsupported(fields, "vision_feature_layer", "features from before the first block");
  }

  FOVEA_TRY(const std::string strategy, fields.text("vision_feature_select_strategy", "default"));
  if (strategy != "default" && strategy != "full") {
    return unsupported(fields, "vision_feature_select_strategy",
                       "strategy " + quoted(strategy) + "; default and full are supported");
  }
  config.drop_class_token = strategy == "default";

  // Nothing in transformers reads image_seq_length, and its default is written for towers of any
  // size: a figure that differs is worth a note, not a refusal.
  FOVEA_TRY(
      const std::int64_t stated,
      fields.integer("image_seq_length", config.visual_tokens_per_image(), 0, kMaxVocabulary));
  if (stated != config.visual_tokens_per_image()) {
    config.notes.push_back("config.json: image_seq_length " + std::to_string(stated) +
                           " does not fit the tower, which gives " +
                           std::to_string(config.visual_tokens_per_image()) +
                           " visual tokens a picture; ignored");
  }
  return {};
}

// ---- Token ids --------------------------------------------------------------------------------

Result<std::int64_t> image_token(const ConfigFields& fields) {
  FOVEA_TRY(const std::int64_t old_name,
            fields.integer("image_token_index", 32000, 0, kMaxVocabulary));
  FOVEA_TRY(const std::int64_t id, fields.integer("image_token_id", old_name, 0, kMaxVocabulary));
  if (has(fields, "image_token_index") && id != old_name) {
    return fields.error("image_token_id", "differs from image_token_index");
  }
  return id;
}

/// bos, eos and pad: the first of generation_config.json, config.json and its text_config that
/// names one.
Status read_special_tokens(const std::array<ConfigFields, 3>& sources, LlavaConfig& config) {
  const std::int64_t last = config.decoder.vocab_size - 1;
  const auto first_with = [&sources](const char* name) -> const ConfigFields* {
    const auto found = std::find_if(sources.begin(), sources.end(),
                                    [name](const ConfigFields& each) { return has(each, name); });
    return found == sources.end() ? nullptr : &*found;
  };
  if (const ConfigFields* source = first_with("bos_token_id")) {
    FOVEA_TRY(config.bos_token_id, source->integer("bos_token_id", 1, 0, last));
  }
  if (const ConfigFields* source = first_with("pad_token_id")) {
    // Some Llama configs write -1 for "none".
    FOVEA_TRY(const std::int64_t pad, source->integer("pad_token_id", 0, -1, kMaxVocabulary));
    config.pad_token_id = std::max<std::int64_t>(pad, 0);
  }
  const ConfigFields* source = first_with("eos_token_id");
  if (source == nullptr) return {};
  const Json& eos = *source->find("eos_token_id");
  if (!eos.is_array()) {
    FOVEA_TRY(const std::int64_t id, source->integer("eos_token_id", 2, 0, last));
    config.eos_token_ids = {id};
    return {};
  }
  config.eos_token_ids.clear();
  for (const Json& id : eos.as_array()) {
    if (!id.is_int() || id.as_int() < 0 || id.as_int() > last ||
        config.eos_token_ids.size() == kMaxEndTokens) {
      return source->error("eos_token_id", "expected at most " + std::to_string(kMaxEndTokens) +
                                               " ids from 0 to " + std::to_string(last));
    }
    config.eos_token_ids.push_back(id.as_int());
  }
  if (config.eos_token_ids.empty()) return source->error("eos_token_id", "the list is empty");
  return {};
}

// ---- The files beside config.json -------------------------------------------------------------

Status read_preprocessing(const std::string& folder, const std::optional<Json>& processor,
                          LlavaConfig& config) {
  std::string file = path_in(folder, "preprocessor_config.json");
  FOVEA_TRY(const std::optional<Json> own,
            read_optional_model_json(folder, "preprocessor_config.json"));
  const Json* json = own ? &*own : nullptr;
  if (json == nullptr && processor) {
    file = path_in(folder, "processor_config.json");
    FOVEA_TRY(json, object(ConfigFields(*processor, file), "image_processor"));
  }

  const std::int64_t expected = config.vision.image_size;
  if (json == nullptr) {
    const int size = static_cast<int>(expected);
    config.preprocess.shortest_edge = size;
    config.preprocess.resize_width = config.preprocess.resize_height = size;
    config.preprocess.crop_width = config.preprocess.crop_height = size;
    config.notes.push_back(
        "no preprocessor_config.json: CLIP's own preprocessing is assumed (bicubic, centre crop)");
  } else {
    FOVEA_TRY(config.preprocess, parse_preprocess_config(*json, file));
  }
  const PreprocessConfig& steps = config.preprocess;
  if (!steps.center_crop && (!steps.resize || steps.shortest_edge)) {
    return make_error(ErrorCode::unsupported,
                      "without a centre crop, pictures come in sizes the tower cannot read")
        .in_file(file)
        .in_field("do_center_crop");
  }
  const int width = steps.center_crop ? steps.crop_width : steps.resize_width;
  const int height = steps.center_crop ? steps.crop_height : steps.resize_height;
  if (width != expected || height != expected) {
    return make_error(
               ErrorCode::bad_model,
               "prepared pictures are " + std::to_string(width) + " x " + std::to_string(height) +
                   ", but vision_config.image_size in config.json is " + std::to_string(expected))
        .in_file(file)
        .in_field(steps.center_crop ? "crop_size" : "size");
  }
  return {};
}

/// A chat_template entry: the text itself, or named templates of which "default" counts.
Result<std::string> template_of(const Json& json, const std::string& file) {
  const ConfigFields fields(json, file);
  const Json* entry = fields.find("chat_template");
  if (entry == nullptr || !entry->is_array()) return fields.text("chat_template", "");
  for (const Json& named : entry->as_array()) {
    const ConfigFields each(named, file, "chat_template.");
    FOVEA_TRY(const std::string name, each.text("name", ""));
    if (name == "default") return each.text("template", "");
  }
  return std::string();
}

Result<std::string> read_chat_template(const std::string& folder,
                                       const std::optional<Json>& processor) {
  Result<std::string> jinja = read_file(path_in(folder, "chat_template.jinja"), kMaxTemplateBytes);
  if (jinja) return jinja;
  if (jinja.error().code != ErrorCode::not_found) return std::move(jinja).error();

  FOVEA_TRY(const std::optional<Json> own, read_optional_model_json(folder, "chat_template.json"));
  FOVEA_TRY(const std::optional<Json> tokenizer,
            read_optional_model_json(folder, "tokenizer_config.json"));
  const std::array<std::pair<const std::optional<Json>*, const char*>, 3> sources{
      {{&own, "chat_template.json"},
       {&processor, "processor_config.json"},
       {&tokenizer, "tokenizer_config.json"}}};
  for (const auto& [json, name] : sources) {
    if (!json->has_value()) continue;
    FOVEA_TRY(std::string text, template_of(**json, path_in(folder, name)));
    if (text.size() > kMaxTemplateBytes) {
      return make_error(ErrorCode::too_large, "the chat template is longer than 1 MiB")
          .in_file(path_in(folder, name))
          .in_field("chat_template");
    }
    if (!text.empty()) return text;
  }
  return std::string();
}

Status check_model_type(const ConfigFields& fields) {
  FOVEA_TRY(const std::string type, fields.text("model_type", ""));
  if (type.empty()) return fields.error("model_type", "expected \"llava\", found none");
  if (type == "llava_llama" || type == "LlavaLlamaForCausalLM") {
    return unsupported(fields, "model_type", "a checkpoint in the original LLaVA layout")
        .with_remedy("Use the llava-hf conversion of it");
  }
  if (type != "llava") {
    return unsupported(fields, "model_type", "a model of type " + quoted(type))
        .with_remedy(kSupportedModels);
  }
  if (has(fields, "quantization_config")) {
    return unsupported(fields, "quantization_config", "quantised weights")
        .with_remedy("Use the checkpoint in F32, F16 or BF16");
  }
  return {};
}

std::string folder_name(const std::string& folder) {
  std::error_code ignored;  // then the path as given is the best name there is
  std::filesystem::path path = std::filesystem::weakly_canonical(folder, ignored);
  if (ignored || path.empty()) path = folder;
  return path.filename().empty() ? path.parent_path().filename().string()
                                 : path.filename().string();
}

}  // namespace

Result<LlavaConfig> read_llava_config(const std::string& folder) {
  Result<Json> read = read_model_json(folder, "config.json");
  if (!read) {
    Error error = std::move(read).error();
    if (error.code == ErrorCode::not_found) {
      error.with_remedy("Name a model folder: config.json, weights and tokenizer.model");
    }
    return error;
  }
  const Json& json = *read;
  const std::string file = path_in(folder, "config.json");
  const ConfigFields fields(json, file);
  FOVEA_CHECK(check_model_type(fields));

  LlavaConfig config;
  config.model_id = folder_name(folder);
  FOVEA_TRY(const Json* text, object(fields, "text_config"));
  FOVEA_TRY(config.decoder, parse_decoder(text, file));
  FOVEA_TRY(const bool tied, fields.boolean("tie_word_embeddings", false));
  config.decoder.tie_embeddings = config.decoder.tie_embeddings || tied;
  FOVEA_CHECK(read_vision(json, file, config));
  FOVEA_TRY(config.projector_activation, projector_activation(fields));
  FOVEA_TRY(config.projector_bias, fields.boolean("multimodal_projector_bias", true));
  FOVEA_TRY(config.image_token_id, image_token(fields));

  FOVEA_TRY(const std::optional<Json> generation,
            read_optional_model_json(folder, "generation_config.json"));
  const ConfigFields generating =
      fields_of(generation ? &*generation : nullptr, path_in(folder, "generation_config.json"), "");
  FOVEA_CHECK(
      read_special_tokens({generating, fields, fields_of(text, file, "text_config.")}, config));
  if (has(generating, "max_new_tokens")) {
    FOVEA_TRY(const std::int64_t count, generating.integer("max_new_tokens", 1, 1, kMaxNewTokens));
    config.default_max_new_tokens = static_cast<int>(count);
  }

  FOVEA_TRY(const std::optional<Json> processor,
            read_optional_model_json(folder, "processor_config.json"));
  FOVEA_CHECK(read_preprocessing(folder, processor, config));
  FOVEA_TRY(config.image_aspect_ratio, fields.text("image_aspect_ratio", ""));
  if (config.image_aspect_ratio == "pad") {
    config.preprocess.aspect = AspectMode::pad;
  } else if (config.image_aspect_ratio.starts_with("anyres")) {
    return unsupported(fields, "image_aspect_ratio", "pictures cut into tiles")
        .with_remedy(kSupportedModels);
  }
  FOVEA_TRY(config.chat_template, read_chat_template(folder, processor));
  return config;
}

}  // namespace fovea
