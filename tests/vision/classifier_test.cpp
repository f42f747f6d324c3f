#include "vision/classifier.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "kernels/base/file.h"
#include "support/safetensors_bytes.h"
#include "support/shared_data.h"
#include "support/temporary_folder.h"
#include "support/tensors.h"

namespace fovea {
namespace {

using testing::close_to;
using testing::cpu_context;
using testing::same_bits;
using testing::TemporaryFolder;

std::string golden(const std::string& name) {
  return std::string(FOVEA_SOURCE_DIR) + "/tests/golden/classifier/" + name;
}

std::map<std::string, std::vector<float>> expected_of(const std::string& folder) {
  std::map<std::string, std::vector<float>> tensors;
  const auto bytes = read_file(folder + "/expected.safetensors", 1 << 20);
  EXPECT_TRUE(bytes);
  const auto parsed = parse_safetensors(std::as_bytes(std::span(*bytes)));
  EXPECT_TRUE(parsed);
  for (const SafetensorsEntry& entry : parsed->tensors) {
    std::vector<float>& values = tensors[entry.name];
    values.resize(entry.bytes.size() / sizeof(float));
    std::memcpy(values.data(), entry.bytes.data(), entry.bytes.size());
  }
  return tensors;
}

std::vector<float> logits_of(const VitClassifier& model, const std::vector<float>& pixels,
                             int threads = 2) {
  const VitConfig& vit = model.config().vit;
  const std::int64_t picture = vit.channels * vit.image_size * vit.image_size;
  const std::int64_t pictures = static_cast<std::int64_t>(pixels.size()) / picture;
  Tensor input =
      *Tensor::allocate({pictures, vit.channels, vit.image_size, vit.image_size}, DType::f32);
  std::copy(pixels.begin(), pixels.end(), input.as<float>());
  Tensor out = *Tensor::allocate({pictures, model.classes()}, DType::f32);
  Context context = cpu_context(threads);
  const auto rows = model.logits(context, input.view(), out.view());
  EXPECT_TRUE(rows) << (rows ? "" : rows.error().to_string());
  return {out.as<float>(), out.as<float>() + pictures * model.classes()};
}

std::shared_ptr<const VitClassifier> load(const std::string& folder, std::int64_t image_size = 0,
                                          LinearDType dtype = LinearDType::f32) {
  auto model =
      VitClassifier::load(folder, {.dtype = dtype, .threads = 2, .image_size = image_size});
  EXPECT_TRUE(model) << (model ? "" : model.error().to_string());
  return model ? *model : nullptr;
}

Error error_of(const std::string& folder) {
  const auto model = VitClassifier::load(folder, {});
  EXPECT_FALSE(model);
  return model ? Error() : model.error();
}

constexpr const char* kModels[] = {"vit",          "vit_no_qkv_bias", "vit_grey",         "deit",
                                   "deit_teacher", "timm_vit",        "timm_deit_teacher"};

// ---- Values ------------------------------------------------------------------------------------

TEST(VitClassifier, logits_equal_transformers) {
  for (const char* name : kModels) {
    SCOPED_TRACE(name);
    const auto expected = expected_of(golden(name));
    const auto model = load(golden(name));
    ASSERT_TRUE(model);
    EXPECT_TRUE(close_to(
        logits_of(*model, expected.at("pixels")),
        std::vector<double>(expected.at("logits").begin(), expected.at("logits").end()), 1e-5));
  }
}

TEST(VitClassifier, positions_resampled_for_larger_pictures_equal_transformers) {
  for (const char* name : kModels) {
    SCOPED_TRACE(name);
    const auto expected = expected_of(golden(name));
    const auto model = load(golden(name), 36);
    ASSERT_TRUE(model);
    EXPECT_EQ(model->config().vit.tokens() - model->config().vit.prefix_tokens(), 36);
    EXPECT_TRUE(close_to(logits_of(*model, expected.at("larger_pixels")),
                         std::vector<double>(expected.at("larger_logits").begin(),
                                             expected.at("larger_logits").end()),
                         1e-5));
  }
}

TEST(VitClassifier, bf16_stays_near) {
  const auto expected = expected_of(golden("vit"));
  const auto model = load(golden("vit"), 0, LinearDType::bf16);
  ASSERT_TRUE(model);
  // 8 bits of each weight: errors of 2^-9 of the terms, over five blocks.
  EXPECT_TRUE(close_to(
      logits_of(*model, expected.at("pixels")),
      std::vector<double>(expected.at("logits").begin(), expected.at("logits").end()), 0.06));
}

TEST(VitClassifier, a_batch_gives_each_picture_the_bits_it_gets_alone) {
  const auto model = load(golden("deit_teacher"));
  ASSERT_TRUE(model);
  const auto pixels = expected_of(golden("deit_teacher")).at("pixels");
  const std::vector<float> both = logits_of(*model, pixels);
  const std::size_t half = pixels.size() / 2;
  const std::vector<float> first = logits_of(*model, {pixels.begin(), pixels.begin() + half}, 1);
  const std::vector<float> second = logits_of(*model, {pixels.begin() + half, pixels.end()}, 3);
  EXPECT_TRUE(same_bits(std::span(both).first(5), first));
  EXPECT_TRUE(same_bits(std::span(both).subspan(5), second));
}

TEST(TopClasses, are_softmax_probabilities_in_order) {
  const std::vector<float> logits{1.0F, 3.0F, 3.0F, -2.0F};
  const double total = std::exp(-2.0) + 2 + std::exp(-5.0);
  const auto scores = top_classes(logits, 3);
  ASSERT_EQ(scores.size(), 3U);
  EXPECT_EQ(scores[0].index, 1);  // the lower index first among equals
  EXPECT_EQ(scores[1].index, 2);
  EXPECT_EQ(scores[2].index, 0);
  EXPECT_NEAR(scores[0].probability, 1 / total, 1e-15);
  EXPECT_NEAR(scores[2].probability, std::exp(-2.0) / total, 1e-15);
  EXPECT_EQ(top_classes(logits, 10).size(), 4U);
}

// ---- What the folder says ----------------------------------------------------------------------

TEST(ClassifierConfig, labels_and_heads_come_from_the_folder) {
  for (const char* name : kModels) {
    const auto model = load(golden(name));
    ASSERT_TRUE(model) << name;
    EXPECT_EQ(model->classes(), 5);
    EXPECT_EQ(model->label(1), "with, comma");
    EXPECT_EQ(model->label(3), "größer");
    EXPECT_EQ(model->label(7), "LABEL_7");
    EXPECT_TRUE(model->notes().empty()) << model->notes().front();
  }
  EXPECT_EQ(load(golden("deit"))->config().heads.size(), 1U);
  EXPECT_EQ(load(golden("timm_deit_teacher"))->config().heads.size(), 2U);
}

TEST(ClassifierConfig, timm_prepares_pictures_as_its_evaluation_does) {
  const PreprocessConfig steps = load(golden("timm_vit"))->config().preprocess;
  EXPECT_EQ(steps.shortest_edge, 26);  // floor(24 / 0.9)
  EXPECT_TRUE(steps.center_crop);
  EXPECT_EQ(steps.crop_width, 24);
  EXPECT_EQ(steps.resample, Resample::bicubic);
  EXPECT_DOUBLE_EQ(steps.mean[2], 0.406);
  EXPECT_DOUBLE_EQ(steps.std[0], 0.229);
}

TEST(ClassifierConfig, preprocessing_follows_another_picture_size) {
  EXPECT_EQ(load(golden("timm_vit"), 48)->config().preprocess.shortest_edge, 52);
  const PreprocessConfig steps = load(golden("vit"), 48)->config().preprocess;
  EXPECT_EQ(steps.resize_width, 48);
  EXPECT_EQ(steps.resize_height, 48);
  for (const std::int64_t side : {25, 5, 6000}) {
    const auto model = VitClassifier::load(golden("vit"), {.image_size = side});
    ASSERT_FALSE(model) << side;
    EXPECT_EQ(model.error().code, ErrorCode::usage) << side;
  }
}

/// A copy of a golden model whose files a test may damage.
class DamagedModel {
 public:
  explicit DamagedModel(const std::string& name) {
    for (const auto& entry : std::filesystem::directory_iterator(golden(name))) {
      std::filesystem::copy(entry.path(), folder_.path() / entry.path().filename());
    }
  }
  std::string path() const { return folder_.path().string(); }
  void replace(const std::string& file, const std::string& from, const std::string& to) {
    std::string text = *read_file(folder_ / file, 1 << 20);
    const auto place = text.find(from);
    ASSERT_NE(place, std::string::npos) << from;
    folder_.write(file, text.replace(place, from.size(), to));
  }
  void write(const std::string& file, const std::string& text) { folder_.write(file, text); }
  void remove(const std::string& file) { std::filesystem::remove(folder_.path() / file); }
  /// Renames a tensor without moving its bytes: both names must be equally long.
  void rename_tensor(const std::string& from, const std::string& to) {
    ASSERT_EQ(from.size(), to.size());
    replace("model.safetensors", "\"" + from + "\"", "\"" + to + "\"");
  }

 private:
  TemporaryFolder folder_;
};

TEST(ClassifierConfig, bad_configurations_are_errors_that_name_file_and_field) {
  struct Case {
    const char *model, *file, *from, *to, *field;
    ErrorCode code;
  };
  const std::vector<Case> cases = {
      {"vit", "config.json", "\"vit\"", "\"swin\"", "model_type", ErrorCode::unsupported},
      {"vit", "config.json", "\"hidden_size\": 24", "\"hidden_size\": 25", "num_attention_heads",
       ErrorCode::bad_model},
      {"vit", "config.json", "\"num_channels\": 3", "\"num_channels\": 4", "num_channels",
       ErrorCode::unsupported},
      {"vit", "config.json", "\"0\": \"plain\"", "\"7\": \"plain\"", "id2label",
       ErrorCode::bad_model},
      {"vit", "config.json", "\"0\": \"plain\"", "\"0\": 12", "id2label", ErrorCode::bad_model},
      {"vit", "config.json", "\"image_size\": 24", "\"image_size\": 30", "size",
       ErrorCode::bad_model},
      {"vit", "preprocessor_config.json", "\"height\": 24", "\"height\": 30", "size",
       ErrorCode::bad_model},
      {"vit", "preprocessor_config.json", "ViTImageProcessor", "ConvNextImageProcessor",
       "image_processor_type", ErrorCode::unsupported},
      {"vit_grey", "preprocessor_config.json", "[0.25]", "[0.25, 0.25, 0.25]", "image_std",
       ErrorCode::bad_model},
      {"timm_vit", "config.json", "\"num_heads\": 3", "\"num_heads\": 5", "num_attention_heads",
       ErrorCode::bad_model},
      {"timm_vit", "config.json", "\"num_heads\": 3", "\"heads\": 3", "model_args.num_heads",
       ErrorCode::bad_model},
      {"timm_vit", "config.json", "\"num_classes\": 5", "\"global_pool\": \"avg\"", "global_pool",
       ErrorCode::unsupported},
      {"timm_vit", "config.json", "\"bicubic\"", "\"box\"", "pretrained_cfg.interpolation",
       ErrorCode::unsupported},
      {"timm_vit", "config.json", "\"crop_pct\": 0.9", "\"crop_pct\": 0", "pretrained_cfg.crop_pct",
       ErrorCode::bad_model},
      {"timm_vit", "config.json", "\"with, comma\"", "3", "label_names", ErrorCode::bad_model},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(std::string(bad.from) + " -> " + bad.to);
    DamagedModel model(bad.model);
    model.replace(bad.file, bad.from, bad.to);
    const Error error = error_of(model.path());
    EXPECT_EQ(error.field, bad.field);
    EXPECT_EQ(error.code, bad.code) << error.to_string();
    EXPECT_NE(error.file, "");
  }
}

TEST(ClassifierConfig, a_missing_file_is_named) {
  for (const char* file : {"config.json", "preprocessor_config.json", "model.safetensors"}) {
    DamagedModel model("vit");
    model.remove(file);
    const Error error = error_of(model.path());
    EXPECT_EQ(error.code, ErrorCode::not_found) << file;
    EXPECT_NE(error.to_string().find(file), std::string::npos) << error.to_string();
  }
}

// ---- What the weights must be ------------------------------------------------------------------

TEST(VitClassifier, a_missing_tensor_is_an_error_that_names_it) {
  const std::vector<std::array<const char*, 3>> cases = {
      {"vit", "vit.layernorm.weight", "vit.layernorn.weight"},
      {"vit", "vit.encoder.layer.2.attention.attention.key.bias",
       "vit.encoder.layer.2.attention.attention.kex.bias"},
      {"deit", "deit.embeddings.distillation_token", "deit.embeddings.distillation_taken"},
      {"deit_teacher", "distillation_classifier.bias", "distillation_classifier.bios"},
      {"timm_vit", "norm.bias", "nurm.bias"},
  };
  for (const auto& [name, tensor, other] : cases) {
    DamagedModel model(name);
    model.rename_tensor(tensor, other);
    const Error error = error_of(model.path());
    EXPECT_EQ(error.code, ErrorCode::bad_model) << error.to_string();
    EXPECT_EQ(error.field, tensor);
  }
}

TEST(VitClassifier, a_tensor_that_a_plain_vit_lacks_is_refused) {
  DamagedModel model("timm_vit");
  std::string bytes = *read_file(model.path() + "/model.safetensors", 1 << 20);
  std::vector<testing::TensorBytes> tensors;
  const auto parsed = parse_safetensors(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(parsed);
  for (const SafetensorsEntry& entry : parsed->tensors) {
    tensors.push_back(
        {entry.name, entry.dtype, entry.shape,
         std::string(reinterpret_cast<const char*>(entry.bytes.data()), entry.bytes.size())});
  }
  tensors.push_back({"blocks.1.ls1.gamma", "F32", {24}, std::string(96, '\0')});
  model.write("model.safetensors", testing::safetensors_file(tensors));
  const Error error = error_of(model.path());
  EXPECT_EQ(error.code, ErrorCode::unsupported);
  EXPECT_EQ(error.field, "blocks.1.ls1.gamma");

  tensors.back().name = "decoder.extra";
  model.write("model.safetensors", testing::safetensors_file(tensors));
  const auto noted = load(model.path());
  ASSERT_TRUE(noted);
  ASSERT_EQ(noted->notes().size(), 1U);
  EXPECT_NE(noted->notes().front().find("decoder.extra"), std::string::npos);
}

TEST(VitClassifier, a_folder_without_a_head_is_a_tower_alone) {
  DamagedModel model("timm_vit");
  model.rename_tensor("head.weight", "haed.weight");
  const auto tower = load(model.path());
  ASSERT_TRUE(tower);
  EXPECT_EQ(tower->classes(), 0);
  EXPECT_EQ(tower->encoder().run_layers(), 5);
  Tensor pixels = *Tensor::allocate({1, 3, 24, 24}, DType::f32);
  Tensor out = *Tensor::allocate({1, 5}, DType::f32);
  Context context;
  const auto rows = tower->logits(context, pixels.view(), out.view());
  ASSERT_FALSE(rows);
  EXPECT_EQ(rows.error().code, ErrorCode::unsupported);
}

TEST(VitClassifier, labels_must_be_as_many_as_the_head_knows) {
  DamagedModel model("vit");
  model.replace("config.json", ",\n    \"4\": \"last\"", "");
  const Error error = error_of(model.path());
  EXPECT_EQ(error.code, ErrorCode::bad_model);
  EXPECT_EQ(error.field, "classifier.weight");
}

// ---- A real model ------------------------------------------------------------------------------

// Instrumented code takes minutes over what takes seconds otherwise: it judges the first 300.
#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t kJudged = 300, kRight = 277;
#else
constexpr std::size_t kJudged = 10000, kRight = 9077;
#endif

TEST(VitClassifier, the_real_fashion_model_answers_9077_of_10000_pictures) {
  const auto folder = testing::shared_data("vit-fashion-mnist");
  if (!folder) GTEST_SKIP() << testing::shared_data_missing("vit-fashion-mnist");
  const auto pictures = testing::fashion_pictures();
  if (!pictures) GTEST_SKIP() << testing::kFashionMissing;
  const auto model = load(*folder);
  ASSERT_TRUE(model);
  ASSERT_EQ(pictures->count(), 10000U);
  Context context = cpu_context(2);
  constexpr std::size_t kBatch = 100;
  std::size_t right = 0;
  for (std::size_t first = 0; first < kJudged; first += kBatch) {
    std::vector<float> pixels;
    for (std::size_t i = first; i < first + kBatch; ++i) {
      Image image = Image::filled(28, 28, 0, 0, 0);
      for (std::size_t p = 0; p < 28 * 28; ++p) {
        std::fill_n(image.rgb.begin() + static_cast<std::ptrdiff_t>(3 * p), 3,
                    pictures->pixels[i * 28 * 28 + p]);
      }
      const auto prepared = preprocess(context, image, model->config().preprocess);
      ASSERT_TRUE(prepared) << prepared.error().to_string();
      const auto* values = prepared->pixels.as<float>();
      pixels.insert(pixels.end(), values, values + 28 * 28);
    }
    const std::vector<float> logits = logits_of(*model, pixels);
    for (std::size_t i = 0; i < kBatch; ++i) {
      const auto best = top_classes(std::span(logits).subspan(i * 10, 10), 1);
      right += best.front().index == pictures->classes[first + i] ? 1 : 0;
    }
  }
  EXPECT_EQ(right, kRight);
}

}  // namespace
}  // namespace fovea
