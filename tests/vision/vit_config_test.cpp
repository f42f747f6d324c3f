#include "vision/vit_config.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace fovea {
namespace {

Result<VitConfig> parse(const std::string& text) {
  const auto json = parse_json(text);
  EXPECT_TRUE(json) << text;
  return parse_clip_vision_config(*json, "config.json");
}

TEST(VitConfig, reads_the_vision_config_of_llava) {
  const std::string inner =
      R"({"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
          "model_type": "clip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 24,
          "patch_size": 14, "projection_dim": 768, "vocab_size": 32000})";
  for (const std::string& text :
       {inner, R"({"model_type": "llava", "vision_config": )" + inner + "}"}) {
    const auto config = parse(text);
    ASSERT_TRUE(config) << config.error().to_string();
    EXPECT_EQ(config->hidden_size, 1024);
    EXPECT_EQ(config->intermediate_size, 4096);
    EXPECT_EQ(config->layers, 24);
    EXPECT_EQ(config->heads, 16);
    EXPECT_EQ(config->patches(), 576);
    EXPECT_EQ(config->tokens(), 577);
    EXPECT_EQ(config->activation, Activation::quick_gelu);
    EXPECT_DOUBLE_EQ(config->layer_norm_eps, 1e-5);
  }
}

TEST(VitConfig, absent_fields_take_the_defaults_of_transformers) {
  const auto config = parse(R"({"hidden_act": null})");
  ASSERT_TRUE(config) << config.error().to_string();
  EXPECT_EQ(config->hidden_size, 768);
  EXPECT_EQ(config->intermediate_size, 3072);
  EXPECT_EQ(config->layers, 12);
  EXPECT_EQ(config->heads, 12);
  EXPECT_EQ(config->image_size, 224);
  EXPECT_EQ(config->patch_size, 32);
  EXPECT_EQ(config->channels, 3);
  EXPECT_EQ(config->activation, Activation::quick_gelu);
}

TEST(VitConfig, activations_have_the_names_of_transformers) {
  const std::vector<std::pair<std::string, Activation>> names = {
      {"quick_gelu", Activation::quick_gelu},
      {"gelu", Activation::gelu_erf},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"silu", Activation::silu},
      {"relu", Activation::relu}};
  for (const auto& [name, activation] : names) {
    const auto config = parse(R"({"hidden_act": ")" + name + "\"}");
    ASSERT_TRUE(config) << name;
    EXPECT_EQ(config->activation, activation) << name;
  }
}

TEST(VitConfig, absurd_values_are_errors_that_name_the_field) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"hidden_size": 0})", "hidden_size"},
      {R"({"hidden_size": -768})", "hidden_size"},
      {R"({"hidden_size": 9223372036854775807})", "hidden_size"},
      {R"({"hidden_size": 768.5})", "hidden_size"},
      {R"({"hidden_size": "768"})", "hidden_size"},
      {R"({"hidden_size": 770})", "num_attention_heads"},
      {R"({"num_attention_heads": 0})", "num_attention_heads"},
      {R"({"num_attention_heads": 7})", "num_attention_heads"},
      {R"({"num_hidden_layers": 0})", "num_hidden_layers"},
      {R"({"num_hidden_layers": 1000000})", "num_hidden_layers"},
      {R"({"intermediate_size": 4000000000})", "intermediate_size"},
      {R"({"num_channels": 1})", "num_channels"},
      {R"({"image_size": 0})", "image_size"},
      {R"({"image_size": 1000000})", "image_size"},
      {R"({"image_size": [336, 336]})", "image_size"},
      {R"({"patch_size": 0})", "patch_size"},
      {R"({"patch_size": 225})", "patch_size"},
      {R"({"patch_size": 15})", "patch_size"},
      {R"({"image_size": 4096, "patch_size": 1})", "patch_size"},
      {R"({"layer_norm_eps": -1e-5})", "layer_norm_eps"},
      {R"({"layer_norm_eps": 2})", "layer_norm_eps"},
      {R"({"hidden_act": "mish"})", "hidden_act"},
      {R"({"hidden_act": 1})", "hidden_act"},
      {R"({"model_type": "siglip_vision_model"})", "model_type"},
      {R"({"vision_config": {"patch_size": 0}})", "vision_config.patch_size"},
  };
  for (const auto& [text, field] : cases) {
    const auto config = parse(text);
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().field, field) << text;
    EXPECT_EQ(config.error().file, "config.json") << text;
  }
  EXPECT_FALSE(parse("[]"));
  EXPECT_FALSE(parse("null"));
}

Result<VitConfig> parse_vit(const std::string& text) {
  const auto json = parse_json(text);
  EXPECT_TRUE(json) << text;
  return parse_vit_config(*json, "config.json");
}

TEST(VitConfig, vit_and_deit_take_the_defaults_of_transformers) {
  const auto vit = parse_vit(R"({"model_type": "vit"})");
  ASSERT_TRUE(vit) << vit.error().to_string();
  EXPECT_EQ(vit->hidden_size, 768);
  EXPECT_EQ(vit->patch_size, 16);
  EXPECT_EQ(vit->tokens(), 197);
  EXPECT_EQ(vit->activation, Activation::gelu_erf);
  EXPECT_DOUBLE_EQ(vit->layer_norm_eps, 1e-12);
  EXPECT_TRUE(vit->qkv_bias);
  EXPECT_TRUE(vit->patch_bias);
  EXPECT_FALSE(vit->pre_norm);
  const auto deit = parse_vit(R"({"model_type": "deit", "num_channels": 1, "qkv_bias": false})");
  ASSERT_TRUE(deit) << deit.error().to_string();
  EXPECT_EQ(deit->tokens(), 198);
  EXPECT_EQ(deit->prefix_tokens(), 2);
  EXPECT_EQ(deit->channels, 1);
  EXPECT_FALSE(deit->qkv_bias);
}

TEST(VitConfig, absurd_vit_values_are_errors_that_name_the_field) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({})", "model_type"},
      {R"({"model_type": "clip_vision_model"})", "model_type"},
      {R"({"model_type": "vit", "num_channels": 2})", "num_channels"},
      {R"({"model_type": "vit", "qkv_bias": 1})", "qkv_bias"},
      {R"({"model_type": "vit", "patch_size": 15})", "patch_size"},
      {R"({"model_type": "vit", "num_attention_heads": 5})", "num_attention_heads"},
  };
  for (const auto& [text, field] : cases) {
    const auto config = parse_vit(text);
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().field, field) << text;
  }
  EXPECT_FALSE(parse_vit("[]"));
}

}  // namespace
}  // namespace fovea
