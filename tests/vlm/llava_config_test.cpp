#include "vlm/llava_config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "kernels/base/file.h"
#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::TemporaryFolder;
using Files = std::map<std::string, std::string>;

const std::string kSource = FOVEA_SOURCE_DIR;
const std::string kFoveaBase = kSource + "/assets/models/fovea-base";

// The configuration files of llava-hf/llava-1.5-7b-hf as published: sizes that equal the classes'
// defaults are left out.
const char* const kPublishedConfig = R"({
  "architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100,
  "image_token_index": 32000, "model_type": "llava", "pad_token_id": 32001,
  "projector_hidden_act": "gelu",
  "text_config": {
    "_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
    "torch_dtype": "float16", "vocab_size": 32064 },
  "tie_word_embeddings": false, "torch_dtype": "float16",
  "transformers_version": "4.36.0.dev0",
  "vision_config": {
    "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
    "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24,
    "patch_size": 14, "projection_dim": 768, "vocab_size": 32000 },
  "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "vocab_size": 32064
})";
const char* const kPublishedPreprocessor = R"({
  "crop_size": {"height": 336, "width": 336}, "do_center_crop": true, "do_convert_rgb": true,
  "do_normalize": true, "do_rescale": true, "do_resize": true,
  "image_mean": [0.48145466, 0.4578275, 0.40821073],
  "image_processor_type": "CLIPImageProcessor",
  "image_std": [0.26862954, 0.26130258, 0.27577711], "processor_class": "LlavaProcessor",
  "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 336}
})";

// What transformers 5 writes: every field, rope_parameters, image_processor in one file.
const char* const kSavedConfig = R"({
  "architectures": ["LlavaForConditionalGeneration"], "dtype": "float32", "image_seq_length": 16,
  "image_token_id": 300, "model_type": "llava", "multimodal_projector_bias": false,
  "projector_hidden_act": "gelu_pytorch_tanh",
  "text_config": {
    "attention_bias": true, "attention_dropout": 0.0, "bos_token_id": 5, "eos_token_id": [6, 7],
    "head_dim": 24, "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02,
    "intermediate_size": 96, "max_position_embeddings": 512, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 3,
    "num_key_value_heads": 2, "pad_token_id": null, "pretraining_tp": 1, "rms_norm_eps": 1e-06,
    "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"},
    "tie_word_embeddings": true, "use_cache": true, "vocab_size": 320 },
  "tie_word_embeddings": true, "transformers_version": "5.17.0",
  "vision_config": {
    "attention_dropout": 0.0, "hidden_act": "gelu", "hidden_size": 32, "image_size": 56,
    "intermediate_size": 64, "layer_norm_eps": 1e-06, "model_type": "clip_vision_model",
    "num_attention_heads": 2, "num_channels": 3, "num_hidden_layers": 4, "patch_size": 14 },
  "vision_feature_layer": 3, "vision_feature_select_strategy": "full"
})";
const char* const kSavedProcessor = R"({
  "image_processor": {
    "crop_size": {"height": 56, "width": 56}, "do_center_crop": true, "do_normalize": true,
    "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25], "resample": 2, "size": {"shortest_edge": 56}},
  "patch_size": 14, "processor_class": "LlavaProcessor"
})";

Result<LlavaConfig> read(const Files& files) {
  const TemporaryFolder folder;
  for (const auto& [name, content] : files) folder.write(name, content);
  return read_llava_config(folder.path().string());
}

LlavaConfig read_ok(const Files& files) {
  const Result<LlavaConfig> config = read(files);
  EXPECT_TRUE(config) << config.error().to_string();
  return config ? *config : LlavaConfig();
}

/// A small configuration with one member of an object ("" for the top) set to a JSON text.
Files small_with(const std::string& part, const std::string& name, const std::string& value) {
  std::map<std::string, std::map<std::string, std::string>> members{
      {"", {{"model_type", "\"llava\""}}},
      {"text_config", {{"vocab_size", "40000"}}},
      {"vision_config",
       {{"hidden_size", "32"},
        {"num_attention_heads", "2"},
        {"num_hidden_layers", "4"},
        {"image_size", "56"},
        {"patch_size", "14"}}}};
  members[part][name] = value;
  std::string text;
  for (const std::string object : {"text_config", "vision_config"}) {
    std::string inner;
    for (const auto& [key, content] : members[object]) {
      inner += (inner.empty() ? "\"" : ", \"") + key + "\": " + content;
    }
    members[""].emplace(object, "{" + inner + "}");
  }
  for (const auto& [key, content] : members[""]) {
    text += (text.empty() ? "\"" : ", \"") + key + "\": " + content;
  }
  return {{"config.json", "{" + text + "}"}};
}

Error error_of(const Files& files) {
  const Result<LlavaConfig> config = read(files);
  EXPECT_FALSE(config) << files.at("config.json");
  return config ? Error() : config.error();
}

// ---- Both generations --------------------------------------------------------------------------

TEST(LlavaConfig, published_llava_1_5_takes_the_defaults_of_absent_fields) {
  const LlavaConfig config = read_ok(
      {{"config.json", kPublishedConfig}, {"preprocessor_config.json", kPublishedPreprocessor}});
  const DecoderConfig& decoder = config.decoder;
  EXPECT_EQ(decoder.vocab_size, 32064);
  EXPECT_EQ(decoder.hidden_size, 4096);
  EXPECT_EQ(decoder.intermediate_size, 11008);
  EXPECT_EQ(decoder.layers, 32);
  EXPECT_EQ(decoder.heads, 32);
  EXPECT_EQ(decoder.kv_heads, 32);
  EXPECT_EQ(decoder.head_dim, 128);
  EXPECT_EQ(decoder.rope_theta, 10000.0);
  EXPECT_EQ(decoder.rms_norm_eps, 1e-5);
  EXPECT_EQ(decoder.max_positions, 4096);
  EXPECT_FALSE(decoder.tie_embeddings);
  EXPECT_FALSE(decoder.attention_bias);
  EXPECT_EQ(config.vision.hidden_size, 1024);
  EXPECT_EQ(config.vision.layers, 24);
  EXPECT_EQ(config.vision.heads, 16);
  EXPECT_EQ(config.vision.layer_norm_eps, 1e-5);
  EXPECT_EQ(config.vision.activation, Activation::quick_gelu);
  EXPECT_EQ(config.vision_run_layers, 23);
  EXPECT_TRUE(config.drop_class_token);
  EXPECT_EQ(config.visual_tokens_per_image(), 576);
  EXPECT_EQ(config.projector_activation, Activation::gelu_erf);
  EXPECT_TRUE(config.projector_bias);
  EXPECT_EQ(config.image_token_id, 32000);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_ids, (std::vector<std::int64_t>{2}));
  EXPECT_EQ(config.pad_token_id, 32001);
  EXPECT_EQ(config.preprocess.crop_width, 336);
  EXPECT_EQ(config.preprocess.aspect, AspectMode::crop);
  EXPECT_TRUE(config.chat_template.empty());
  EXPECT_TRUE(config.notes.empty());
}

TEST(LlavaConfig, what_transformers_5_saves_is_read_in_full) {
  const LlavaConfig config =
      read_ok({{"config.json", kSavedConfig}, {"processor_config.json", kSavedProcessor}});
  const DecoderConfig& decoder = config.decoder;
  EXPECT_EQ(decoder.vocab_size, 320);
  EXPECT_EQ(decoder.hidden_size, 64);
  EXPECT_EQ(decoder.intermediate_size, 96);
  EXPECT_EQ(decoder.layers, 3);
  EXPECT_EQ(decoder.heads, 4);
  EXPECT_EQ(decoder.kv_heads, 2);
  EXPECT_EQ(decoder.head_dim, 24);  // not hidden / heads
  EXPECT_EQ(decoder.rope_theta, 500000.0);
  EXPECT_EQ(decoder.rms_norm_eps, 1e-6);
  EXPECT_EQ(decoder.max_positions, 512);
  EXPECT_TRUE(decoder.tie_embeddings);
  EXPECT_TRUE(decoder.attention_bias);
  EXPECT_EQ(config.vision.activation, Activation::gelu_erf);
  EXPECT_EQ(config.vision_run_layers, 3);
  EXPECT_FALSE(config.drop_class_token);
  EXPECT_EQ(config.visual_tokens_per_image(), 17);
  EXPECT_EQ(config.projector_activation, Activation::gelu_tanh);
  EXPECT_FALSE(config.projector_bias);
  EXPECT_EQ(config.image_token_id, 300);
  EXPECT_EQ(config.bos_token_id, 5);
  EXPECT_EQ(config.eos_token_ids, (std::vector<std::int64_t>{6, 7}));
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_EQ(config.preprocess.resample, Resample::bilinear);
  ASSERT_EQ(config.notes.size(), 1u);  // 16 visual tokens are stated, the strategy makes it 17
  EXPECT_NE(config.notes[0].find("image_seq_length"), std::string::npos);
}

TEST(LlavaConfig, a_config_without_sizes_is_llava_1_5_7b) {
  const LlavaConfig config = read_ok({{"config.json", R"({"model_type": "llava"})"}});
  EXPECT_EQ(config.decoder.hidden_size, 4096);
  EXPECT_EQ(config.decoder.vocab_size, 32000);
  EXPECT_EQ(config.decoder.max_positions, 2048);
  EXPECT_EQ(config.decoder.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.vision.hidden_size, 1024);
  EXPECT_EQ(config.vision.image_size, 336);
  EXPECT_EQ(config.vision_run_layers, 23);
}

TEST(LlavaConfig, a_vision_config_without_sizes_is_clips_own_default) {
  const LlavaConfig config =
      read_ok({{"config.json", R"({"model_type": "llava", "vision_config": {}})"}});
  EXPECT_EQ(config.vision.hidden_size, 768);
  EXPECT_EQ(config.vision.image_size, 224);
  EXPECT_EQ(config.vision.patch_size, 32);
  EXPECT_EQ(config.vision_run_layers, 11);
  EXPECT_EQ(config.preprocess.crop_width, 224);
}

TEST(LlavaConfig, null_and_unknown_fields_are_as_good_as_absent) {
  for (const auto& [part, name] :
       std::vector<std::pair<const char*, const char*>>{{"", "text_config_dict"},
                                                        {"", "projector_hidden_act"},
                                                        {"", "image_token_id"},
                                                        {"text_config", "head_dim"},
                                                        {"text_config", "num_key_value_heads"},
                                                        {"text_config", "rope_scaling"},
                                                        {"text_config", "rope_parameters"},
                                                        {"text_config", "eos_token_id"},
                                                        {"text_config", "quantization_config"}}) {
    EXPECT_TRUE(read(small_with(part, name, "null"))) << name;
  }
  EXPECT_TRUE(read(small_with("", "something_new", "{\"deep\": [1, 2]}")));
  EXPECT_TRUE(read(small_with("text_config", "pretraining_tp", "2")));
}

TEST(LlavaConfig, default_rope_is_accepted_in_every_spelling) {
  for (const auto& [name, value] : std::vector<std::pair<const char*, const char*>>{
           {"rope_scaling", R"({"type": "default"})"},
           {"rope_scaling", R"({"rope_type": "default"})"},
           {"rope_parameters", R"({"rope_theta": 10000.0})"},
           {"rope_parameters", R"({"rope_type": null, "partial_rotary_factor": 1.0})"}}) {
    EXPECT_EQ(read_ok(small_with("text_config", name, value)).decoder.rope_theta, 10000.0);
  }
  EXPECT_EQ(read_ok(small_with("text_config", "rope_theta", "1000000")).decoder.rope_theta, 1e6);
}

TEST(LlavaConfig, either_place_ties_the_embeddings) {
  EXPECT_FALSE(read_ok(small_with("", "x", "0")).decoder.tie_embeddings);
  EXPECT_TRUE(read_ok(small_with("", "tie_word_embeddings", "true")).decoder.tie_embeddings);
  EXPECT_TRUE(
      read_ok(small_with("text_config", "tie_word_embeddings", "true")).decoder.tie_embeddings);
}

TEST(LlavaConfig, feature_layers_count_the_embeddings_as_state_zero) {
  EXPECT_EQ(read_ok(small_with("", "vision_feature_layer", "-1")).vision_run_layers, 4);
  EXPECT_EQ(read_ok(small_with("", "vision_feature_layer", "-2")).vision_run_layers, 3);
  EXPECT_EQ(read_ok(small_with("", "vision_feature_layer", "4")).vision_run_layers, 4);
  EXPECT_EQ(read_ok(small_with("", "vision_feature_layer", "1")).vision_run_layers, 1);
  for (const char* outside : {"5", "-6"}) {
    EXPECT_EQ(error_of(small_with("", "vision_feature_layer", outside)).code, ErrorCode::bad_model);
  }
  for (const char* refused : {"0", "-5", "[-2, -5]", "[-2]"}) {
    const Error error = error_of(small_with("", "vision_feature_layer", refused));
    EXPECT_EQ(error.code, ErrorCode::unsupported) << refused;
    EXPECT_EQ(error.field, "vision_feature_layer");
  }
}

// ---- The files beside it -----------------------------------------------------------------------

TEST(LlavaConfig, generation_config_goes_before_config) {
  Files files = small_with("", "eos_token_id", "9");
  EXPECT_EQ(read_ok(files).eos_token_ids, (std::vector<std::int64_t>{9}));
  files["generation_config.json"] =
      R"({"bos_token_id": 3, "eos_token_id": [4, 5], "pad_token_id": -1, "max_new_tokens": 77})";
  const LlavaConfig config = read_ok(files);
  EXPECT_EQ(config.bos_token_id, 3);
  EXPECT_EQ(config.eos_token_ids, (std::vector<std::int64_t>{4, 5}));
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_EQ(config.default_max_new_tokens, 77);
}

TEST(LlavaConfig, end_tokens_outside_the_vocabulary_are_refused) {
  for (const char* eos : {"40000", "-1", "[2, 40000]", "[]", "[\"2\"]", "\"2\"", "2.0"}) {
    Files files = small_with("", "x", "0");
    files["generation_config.json"] = std::string("{\"eos_token_id\": ") + eos + "}";
    const Error error = error_of(files);
    EXPECT_EQ(error.code, ErrorCode::bad_model) << eos;
    EXPECT_EQ(error.field, "eos_token_id") << eos;
    EXPECT_NE(error.file.find("generation_config.json"), std::string::npos);
  }
}

TEST(LlavaConfig, chat_templates_are_found_in_transformers_order) {
  Files files = small_with("", "x", "0");
  EXPECT_EQ(read_ok(files).chat_template, "");
  files["tokenizer_config.json"] =
      R"({"chat_template": [{"name": "tool_use", "template": "tools"},
                            {"name": "default", "template": "from tokenizer list"}]})";
  EXPECT_EQ(read_ok(files).chat_template, "from tokenizer list");
  files["tokenizer_config.json"] = R"({"chat_template": "from tokenizer"})";
  EXPECT_EQ(read_ok(files).chat_template, "from tokenizer");
  files["processor_config.json"] = R"({"chat_template": "from processor"})";
  EXPECT_EQ(read_ok(files).chat_template, "from processor");
  files["chat_template.json"] = R"({"chat_template": "from json"})";
  EXPECT_EQ(read_ok(files).chat_template, "from json");
  files["chat_template.jinja"] = "from jinja\n";
  EXPECT_EQ(read_ok(files).chat_template, "from jinja\n");

  files.erase("chat_template.jinja");
  files["chat_template.json"] = R"({"chat_template": 3})";
  EXPECT_EQ(error_of(files).field, "chat_template");
}

TEST(LlavaConfig, preprocessor_config_goes_before_processor_config) {
  Files files = small_with("", "x", "0");
  files["processor_config.json"] = kSavedProcessor;
  EXPECT_EQ(read_ok(files).preprocess.resample, Resample::bilinear);
  files["preprocessor_config.json"] =
      R"({"crop_size": 56, "size": {"shortest_edge": 56}, "resample": 1})";
  EXPECT_EQ(read_ok(files).preprocess.resample, Resample::lanczos);
}

TEST(LlavaConfig, missing_preprocessing_is_clips_own_and_noted) {
  const LlavaConfig config = read_ok(small_with("", "x", "0"));
  EXPECT_EQ(config.preprocess.crop_width, 56);
  EXPECT_EQ(config.preprocess.crop_height, 56);
  EXPECT_EQ(config.preprocess.shortest_edge, 56);
  EXPECT_EQ(config.preprocess.resample, Resample::bicubic);
  ASSERT_EQ(config.notes.size(), 1u);
  EXPECT_NE(config.notes[0].find("preprocessor_config.json"), std::string::npos);
}

TEST(LlavaConfig, pictures_of_another_size_than_the_towers_are_refused_naming_both) {
  Files files = small_with("", "x", "0");
  files["preprocessor_config.json"] = kPublishedPreprocessor;
  const Error error = error_of(files);
  EXPECT_EQ(error.code, ErrorCode::bad_model);
  EXPECT_EQ(error.field, "crop_size");
  EXPECT_NE(error.file.find("preprocessor_config.json"), std::string::npos);
  EXPECT_NE(error.message.find("336"), std::string::npos);
  EXPECT_NE(error.message.find("56"), std::string::npos);
  EXPECT_NE(error.message.find("config.json"), std::string::npos);

  files["preprocessor_config.json"] = R"({"do_center_crop": false, "size": {"shortest_edge": 56}})";
  EXPECT_EQ(error_of(files).field, "do_center_crop");
  files["preprocessor_config.json"] =
      R"({"do_center_crop": false, "size": {"height": 56, "width": 56}})";
  EXPECT_TRUE(read(files));
}

TEST(LlavaConfig, aspect_ratio_pad_pads_and_tiles_are_unsupported) {
  const LlavaConfig config = read_ok(small_with("", "image_aspect_ratio", "\"pad\""));
  EXPECT_EQ(config.image_aspect_ratio, "pad");
  EXPECT_EQ(config.preprocess.aspect, AspectMode::pad);
  EXPECT_EQ(error_of(small_with("", "image_aspect_ratio", "\"anyres_max_9\"")).code,
            ErrorCode::unsupported);
}

// ---- Bad input ---------------------------------------------------------------------------------

TEST(LlavaConfig, a_missing_folder_or_config_is_not_found) {
  const Result<LlavaConfig> config = read_llava_config("/nonexistent/folder");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, ErrorCode::not_found);
  EXPECT_FALSE(config.error().remedy.empty());
  const Result<LlavaConfig> none = read({{"other.txt", ""}});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::not_found);
}

TEST(LlavaConfig, what_is_not_supported_is_refused_by_name) {
  struct Case {
    const char* part;
    const char* name;
    const char* value;
    const char* field;
  };
  for (const Case& each : std::vector<Case>{
           {"", "model_type", "\"llava_next\"", "model_type"},
           {"", "model_type", "\"llava_llama\"", "model_type"},
           {"", "model_type", "\"vipllava\"", "model_type"},
           {"", "quantization_config", "{\"bits\": 4}", "quantization_config"},
           {"", "projector_hidden_act", "\"mish\"", "projector_hidden_act"},
           {"", "vision_feature_select_strategy", "\"cls\"", "vision_feature_select_strategy"},
           {"text_config", "model_type", "\"qwen2\"", "text_config.model_type"},
           {"text_config", "model_type", "\"mistral\"", "text_config.model_type"},
           {"text_config", "hidden_act", "\"gelu\"", "text_config.hidden_act"},
           {"text_config", "mlp_bias", "true", "text_config.mlp_bias"},
           {"text_config", "quantization_config", "{}", "text_config.quantization_config"},
           {"text_config", "rope_scaling", R"({"type": "linear", "factor": 2.0})",
            "text_config.rope_scaling.type"},
           {"text_config", "rope_scaling", R"({"rope_type": "llama3", "factor": 8})",
            "text_config.rope_scaling.rope_type"},
           {"text_config", "rope_parameters", R"({"rope_type": "yarn"})",
            "text_config.rope_parameters.rope_type"},
           {"text_config", "rope_parameters", R"({"full": {"rope_theta": 1e4}})",
            "text_config.rope_parameters.full"},
           {"text_config", "rope_parameters", R"({"partial_rotary_factor": 0.5})",
            "text_config.rope_parameters.partial_rotary_factor"},
           {"text_config", "head_dim", "63", "text_config.head_dim"},
           {"text_config", "num_attention_heads", "8", "text_config.head_dim"},
           {"vision_config", "model_type", "\"siglip_vision_model\"",
            "vision_config.model_type"}}) {
    const Error error = error_of(small_with(each.part, each.name, each.value));
    EXPECT_EQ(error.code, ErrorCode::unsupported) << each.name << ": " << error.to_string();
    EXPECT_EQ(error.field, each.field);
    EXPECT_NE(error.file.find("config.json"), std::string::npos);
  }
  EXPECT_NE(error_of(small_with("", "model_type", "\"llava_llama\"")).remedy.find("llava-hf"),
            std::string::npos);
  EXPECT_NE(error_of(small_with("", "model_type", "\"llava_next\"")).remedy.find("LLaVA-1.5"),
            std::string::npos);
}

TEST(LlavaConfig, absurd_values_are_bad_models_that_name_the_field) {
  const std::map<std::string, std::vector<std::string>> text{
      {"vocab_size", {"0", "-1", "1000001", "1e5", "\"x\"", "9223372036854775807", "true", "[]"}},
      {"hidden_size", {"0", "65537", "-4096", "33"}},
      {"intermediate_size", {"0", "1048577"}},
      {"num_hidden_layers", {"0", "1025"}},
      {"num_attention_heads", {"0", "1025", "3"}},
      {"num_key_value_heads", {"0", "3", "64"}},
      {"head_dim", {"0", "-2", "257", "1099511627776"}},
      {"max_position_embeddings", {"0", "-5", "1000000000000"}},
      {"rms_norm_eps", {"-1", "2", "\"small\""}},
      {"rope_theta", {"0", "-10000", "1e300", "\"x\""}},
      {"rope_scaling", {"3", "[]"}},
      {"rope_parameters", {"\"default\"", "{\"rope_theta\": 0}", "{\"rope_type\": 1}"}},
      {"tie_word_embeddings", {"1", "\"true\""}},
      {"attention_bias", {"0"}},
      {"model_type", {"7"}},
      {"bos_token_id", {"-1", "40000"}}};
  for (const auto& [name, values] : text) {
    for (const std::string& value : values) {
      const Error error = error_of(small_with("text_config", name, value));
      EXPECT_EQ(error.code, ErrorCode::bad_model) << name << " = " << value;
      EXPECT_EQ(error.field.rfind("text_config.", 0), 0u) << error.to_string();
    }
  }
  const std::map<std::string, std::vector<std::string>> top{
      {"model_type", {"\"\"", "5", "null"}},
      {"text_config", {"5", "[]", "\"llama\""}},
      {"vision_config", {"5", "[]"}},
      {"image_token_index", {"-1", "1000001", "\"<image>\""}},
      {"image_seq_length", {"-1", "\"many\""}},
      {"projector_hidden_act", {"1"}},
      {"multimodal_projector_bias", {"1"}},
      {"vision_feature_layer", {"1.5", "\"last\"", "{}"}},
      {"image_aspect_ratio", {"1"}}};
  for (const auto& [name, values] : top) {
    for (const std::string& value : values) {
      const Error error = error_of(small_with("", name, value));
      EXPECT_EQ(error.code, ErrorCode::bad_model) << name << " = " << value;
      EXPECT_EQ(error.field, name);
    }
  }
}

TEST(LlavaConfig, fields_that_contradict_each_other_are_refused) {
  Files files = small_with("", "x", "0");
  files["config.json"] = R"({"model_type": "llava", "image_token_index": 5, "image_token_id": 6})";
  EXPECT_EQ(error_of(files).field, "image_token_id");
  files["config.json"] = R"({"model_type": "llava", "text_config":
      {"rope_theta": 10000, "rope_parameters": {"rope_theta": 500000}}})";
  EXPECT_EQ(error_of(files).field, "text_config.rope_parameters.rope_theta");
  files["config.json"] = R"({"model_type": "llava", "text_config":
      {"vocab_size": 1000000, "hidden_size": 65536, "num_attention_heads": 512,
       "intermediate_size": 1048576}})";
  EXPECT_TRUE(read(files)) << "large, but within 2^36 elements a matrix";
}

TEST(LlavaConfig, files_that_are_no_json_objects_are_bad_models_that_name_the_file) {
  for (const std::string name :
       {"config.json", "generation_config.json", "preprocessor_config.json",
        "processor_config.json", "chat_template.json", "tokenizer_config.json"}) {
    for (const char* content : {"", "{", "[]", "3", "{\"a\": 1, \"a\": 2}", "{\"a\": \"\xFF\"}"}) {
      Files files = small_with("", "x", "0");
      files[name] = content;
      const Error error = error_of(files);
      EXPECT_EQ(error.code, ErrorCode::bad_model) << name << ": " << content;
      EXPECT_NE(error.file.find(name), std::string::npos) << error.file;
    }
  }
}

TEST(LlavaConfig, the_folders_name_is_the_models_id) {
  const TemporaryFolder folder;
  folder.write("config.json", R"({"model_type": "llava"})");
  const std::string name = folder.path().filename().string();
  for (const std::string& spelling :
       {folder.path().string(), folder.path().string() + "/", folder.path().string() + "/./"}) {
    const Result<LlavaConfig> config = read_llava_config(spelling);
    ASSERT_TRUE(config);
    EXPECT_EQ(config->model_id, name) << spelling;
  }
}

TEST(LlavaConfig, mutated_configurations_never_crash) {
  std::mt19937 random(99);
  const std::string good = kSavedConfig;
  const TemporaryFolder folder;
  folder.write("processor_config.json", kSavedProcessor);
  for (int round = 0; round < 400; ++round) {
    std::string text = good;
    for (auto changes = 1 + random() % 3; changes > 0; --changes) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>('0' + random() % 75);
          break;
        case 1:
          text.erase(at, 1 + random() % 6);
          break;
        default:
          text.insert(at, std::to_string(random()));
          break;
      }
    }
    folder.write("config.json", text);
    const Result<LlavaConfig> config = read_llava_config(folder.path().string());
    if (!config) continue;
    EXPECT_GE(config->vision_run_layers, 1);
    EXPECT_LE(config->vision_run_layers, config->vision.layers);
    EXPECT_EQ(config->decoder.heads % config->decoder.kv_heads, 0);
  }
}

// ---- Shipped models and bench shapes -----------------------------------------------------------

TEST(BenchShape, fovea_base_is_the_shipped_model) {
  if (!std::filesystem::exists(kFoveaBase + "/config.json")) {
    GTEST_SKIP() << kFoveaBase << " is not there";
  }
  const Result<LlavaConfig> shipped = read_llava_config(kFoveaBase);
  ASSERT_TRUE(shipped) << shipped.error().to_string();
  const Result<LlavaConfig> shape = bench_shape("fovea-base");
  ASSERT_TRUE(shape);
  EXPECT_EQ(shape->decoder.vocab_size, shipped->decoder.vocab_size);
  EXPECT_EQ(shape->decoder.hidden_size, shipped->decoder.hidden_size);
  EXPECT_EQ(shape->decoder.intermediate_size, shipped->decoder.intermediate_size);
  EXPECT_EQ(shape->decoder.layers, shipped->decoder.layers);
  EXPECT_EQ(shape->decoder.heads, shipped->decoder.heads);
  EXPECT_EQ(shape->decoder.kv_heads, shipped->decoder.kv_heads);
  EXPECT_EQ(shape->decoder.head_dim, shipped->decoder.head_dim);
  EXPECT_EQ(shape->decoder.rope_theta, shipped->decoder.rope_theta);
  EXPECT_EQ(shape->decoder.rms_norm_eps, shipped->decoder.rms_norm_eps);
  EXPECT_EQ(shape->decoder.max_positions, shipped->decoder.max_positions);
  EXPECT_EQ(shape->decoder.tie_embeddings, shipped->decoder.tie_embeddings);
  EXPECT_EQ(shape->decoder.attention_bias, shipped->decoder.attention_bias);
  EXPECT_EQ(shape->vision.hidden_size, shipped->vision.hidden_size);
  EXPECT_EQ(shape->vision.intermediate_size, shipped->vision.intermediate_size);
  EXPECT_EQ(shape->vision.layers, shipped->vision.layers);
  EXPECT_EQ(shape->vision.heads, shipped->vision.heads);
  EXPECT_EQ(shape->vision.image_size, shipped->vision.image_size);
  EXPECT_EQ(shape->vision.patch_size, shipped->vision.patch_size);
  EXPECT_EQ(shape->vision.layer_norm_eps, shipped->vision.layer_norm_eps);
  EXPECT_EQ(shape->vision.activation, shipped->vision.activation);
  EXPECT_EQ(shape->vision_run_layers, shipped->vision_run_layers);
  EXPECT_EQ(shape->drop_class_token, shipped->drop_class_token);
  EXPECT_EQ(shape->image_token_id, shipped->image_token_id);
  EXPECT_EQ(shape->projector_activation, shipped->projector_activation);
  EXPECT_EQ(shape->projector_bias, shipped->projector_bias);
}

TEST(BenchShape, llava_1_5_7b_is_the_published_configuration) {
  const LlavaConfig published = read_ok(
      {{"config.json", kPublishedConfig}, {"preprocessor_config.json", kPublishedPreprocessor}});
  const Result<LlavaConfig> shape = bench_shape("llava-1.5-7b");
  ASSERT_TRUE(shape);
  EXPECT_EQ(shape->decoder.vocab_size, published.decoder.vocab_size);
  EXPECT_EQ(shape->decoder.hidden_size, published.decoder.hidden_size);
  EXPECT_EQ(shape->decoder.layers, published.decoder.layers);
  EXPECT_EQ(shape->decoder.max_positions, published.decoder.max_positions);
  EXPECT_EQ(shape->decoder.rms_norm_eps, published.decoder.rms_norm_eps);
  EXPECT_EQ(shape->vision.hidden_size, published.vision.hidden_size);
  EXPECT_EQ(shape->vision_run_layers, published.vision_run_layers);
}

TEST(BenchShape, shapes_are_consistent_and_an_unknown_one_lists_them) {
  for (const char* name :
       {"llava-1.5-7b", "llava-1.5-13b", "vicuna-7b", "llama-1.1b", "fovea-base"}) {
    const Result<LlavaConfig> shape = bench_shape(name);
    ASSERT_TRUE(shape);
    EXPECT_EQ(shape->model_id, name);
    EXPECT_EQ(shape->decoder.heads * shape->decoder.head_dim, shape->decoder.hidden_size);
    EXPECT_EQ(shape->decoder.heads % shape->decoder.kv_heads, 0);
  }
  EXPECT_EQ(bench_shape("llama-1.1b")->vision.layers, 0);
  EXPECT_EQ(bench_shape("vicuna-7b")->vision.layers, 0);
  EXPECT_GE(bench_shape("vicuna-7b")->decoder.max_positions, 18'064 + 32);
  EXPECT_EQ(bench_shape("llama-1.1b")->decoder.kv_heads, 4);
  EXPECT_EQ(bench_shape("llava-1.5-13b")->decoder.intermediate_size, 13824);
  const Result<LlavaConfig> unknown = bench_shape("gpt-5");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::usage);
  EXPECT_NE(unknown.error().remedy.find("llama-1.1b"), std::string::npos);
}

}  // namespace
}  // namespace fovea
