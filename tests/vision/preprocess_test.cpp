#include "vision/preprocess.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/base/file.h"
#include "kernels/base/npy.h"
#include "support/twins.h"
#include "vision/pattern.h"

namespace fovea {
namespace {

using testing::cpu_context;
using testing::DeviceCase;
using testing::DeviceTest;
using testing::pattern;
using testing::test_context;

const std::string kGolden = std::string(FOVEA_SOURCE_DIR) + "/tests/golden/preprocess/";

Json golden_cases() {
  auto text = read_file(kGolden + "cases.json", 1 << 20);
  EXPECT_TRUE(text) << text.error().to_string();
  auto json = parse_json(*text);
  EXPECT_TRUE(json) << json.error().to_string();
  return std::move(*json);
}

int int_of(const Json& object, const char* key) {
  return static_cast<int>(object.find(key)->as_int());
}

Image picture_of(const Json& golden) {
  if (const Json* file = golden.find("file")) {
    auto image = load_image(kGolden + "pictures/" + file->as_string());
    EXPECT_TRUE(image) << image.error().to_string();
    return std::move(*image);
  }
  return pattern(int_of(golden, "width"), int_of(golden, "height"),
                 static_cast<std::uint32_t>(int_of(golden, "seed")));
}

PreprocessConfig config_of(const std::string& text) {
  auto json = parse_json(text);
  EXPECT_TRUE(json) << json.error().to_string();
  auto config = parse_preprocess_config(*json, "preprocessor_config.json");
  EXPECT_TRUE(config) << config.error().to_string();
  return *config;
}

Error config_error(const std::string& text) {
  auto json = parse_json(text);
  EXPECT_TRUE(json) << json.error().to_string();
  auto config = parse_preprocess_config(*json, "preprocessor_config.json");
  EXPECT_FALSE(config) << text;
  return config ? Error{} : config.error();
}

/// What was prepared, in the host's memory.
std::vector<float> values_of(Context& context, const PreparedImage& prepared) {
  const Shape& shape = prepared.pixels.shape();
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  const TensorView here(reinterpret_cast<std::byte*>(values.data()), DType::f32, shape);
  EXPECT_TRUE(copy(context, prepared.pixels.view(), here));
  return values;
}

// ---- Against Pillow and transformers
// -------------------------------------------------------------

class PreprocessTest : public DeviceTest<DeviceCase> {};
class ResizeTest : public DeviceTest<DeviceCase> {};

TEST_P(PreprocessTest, every_value_equals_transformers) {
  const Json golden = golden_cases();
  const auto step = static_cast<std::size_t>(int_of(golden, "sample_step"));
  for (const Json& one : golden.find("prepared")->as_array()) {
    const std::string name = one.find("name")->as_string();
    SCOPED_TRACE(name);
    const auto config = parse_preprocess_config(*one.find("config"), name);
    ASSERT_TRUE(config) << config.error().to_string();
    for (const int threads : {1, 3}) {
      Context context = test_context(GetParam().device, threads);
      const auto prepared = preprocess(context, picture_of(one), *config);
      ASSERT_TRUE(prepared) << prepared.error().to_string();
      const auto& shape = one.find("shape")->as_array();
      ASSERT_EQ(prepared->pixels.shape(), Shape({3, shape[1].as_int(), shape[2].as_int()}));
      EXPECT_EQ(prepared->height, shape[1].as_int());
      EXPECT_EQ(prepared->width, shape[2].as_int());

      EXPECT_EQ(prepared->pixels.device(), context.device);
      const std::vector<float> values = values_of(context, *prepared);
      if (sha256_hex(std::as_bytes(std::span(values))) == one.find("sha256")->as_string()) continue;
      // Say how far off it is.
      const auto samples = read_npy(kGolden + name + ".npy");
      ASSERT_TRUE(samples) << samples.error().to_string();
      ASSERT_EQ(samples->values.size(), (values.size() + step - 1) / step);
      double worst = 0;
      int differing = 0;
      for (std::size_t i = 0; i < samples->values.size(); ++i) {
        const double error = std::abs(values[i * step] - samples->values[i]);
        worst = std::max(worst, error);
        differing += error > 0 ? 1 : 0;
      }
      ADD_FAILURE() << "not bit-identical: " << differing << " of " << samples->values.size()
                    << " samples differ, by at most " << worst;
    }
  }
}

TEST_P(ResizeTest, every_byte_equals_pillow) {
  const Json golden = golden_cases();
  for (const Json& one : golden.find("resized")->as_array()) {
    const auto side = [&](const char* key, std::size_t axis) {
      return static_cast<int>(one.find(key)->as_array()[axis].as_int());
    };
    const std::string filter = one.find("filter")->as_string();
    const Resample resample = filter == "nearest"    ? Resample::nearest
                              : filter == "lanczos"  ? Resample::lanczos
                              : filter == "bilinear" ? Resample::bilinear
                                                     : Resample::bicubic;
    const Image image = pattern(side("source", 0), side("source", 1),
                                static_cast<std::uint32_t>(int_of(one, "seed")));
    Context context = test_context(GetParam().device, 2);
    const auto resized =
        resize_like_pillow(context, image, side("result", 0), side("result", 1), resample);
    ASSERT_TRUE(resized) << resized.error().to_string();
    EXPECT_EQ(sha256_hex(std::as_bytes(std::span(resized->rgb))), one.find("sha256")->as_string())
        << one.dump();
  }
}

TEST_P(PreprocessTest, shapes_and_filters_that_the_golden_files_lack_are_the_same_everywhere) {
  Context context = test_context(GetParam().device, 2), reference = cpu_context(1);
  for (const auto& [width, height] : {std::pair{640, 480}, {37, 411}, {1200, 800}, {5, 3}}) {
    const Image image = pattern(width, height, 7);
    for (const AspectMode aspect : {AspectMode::crop, AspectMode::pad}) {
      for (const Resample resample :
           {Resample::nearest, Resample::bilinear, Resample::bicubic, Resample::lanczos}) {
        for (const int channels : {1, 3}) {
          PreprocessConfig config;
          config.channels = channels;
          config.aspect = aspect;
          config.resample = resample;
          config.shortest_edge = 48;
          config.crop_width = 60;  // wider than what is shown of narrow pictures
          config.crop_height = 40;
          const auto prepared = preprocess(context, image, config);
          const auto expected = preprocess(reference, image, config);
          ASSERT_TRUE(prepared && expected);
          EXPECT_EQ(values_of(context, *prepared), values_of(reference, *expected))
              << width << " x " << height << ", filter " << static_cast<int>(resample);
        }
      }
    }
  }
}

TEST(Resize, bad_sizes_are_errors) {
  Context context = cpu_context(1);
  const Image image = pattern(8, 8, 1);
  for (const auto& [width, height] : {std::pair{0, 5}, {5, -1}, {20000, 1}, {16384, 16384}}) {
    EXPECT_FALSE(resize_like_pillow(context, image, width, height, Resample::bicubic));
  }
  EXPECT_FALSE(resize_like_pillow(context, Image{}, 4, 4, Resample::bicubic));
  EXPECT_FALSE(resize_like_pillow(context, Image{4, 4, {}}, 4, 4, Resample::bicubic));
}

INSTANTIATE_TEST_SUITE_P(Devices, PreprocessTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         testing::case_name);
INSTANTIATE_TEST_SUITE_P(Devices, ResizeTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         testing::case_name);

// ---- Where the field lies on the picture
// ---------------------------------------------------------

TEST(Preprocess, rect_is_the_square_that_the_field_covers) {
  Context context = cpu_context(1);
  PreprocessConfig config;
  {  // 640x480 becomes 448x336; the field covers the middle 480x480
    const auto prepared = preprocess(context, pattern(640, 480, 1), config);
    ASSERT_TRUE(prepared);
    EXPECT_DOUBLE_EQ(prepared->rect.x, 80);
    EXPECT_DOUBLE_EQ(prepared->rect.y, 0);
    EXPECT_DOUBLE_EQ(prepared->rect.width, 480);
    EXPECT_DOUBLE_EQ(prepared->rect.height, 480);
    EXPECT_EQ(prepared->source_width, 640);
    EXPECT_EQ(prepared->source_height, 480);
  }
  {  // 500x301 becomes 558x336 (558.1 cut); 222 columns too many, 111 on the left
    const auto prepared = preprocess(context, pattern(500, 301, 1), config);
    ASSERT_TRUE(prepared);
    EXPECT_DOUBLE_EQ(prepared->rect.x, 111 * 500.0 / 558);
    EXPECT_DOUBLE_EQ(prepared->rect.width, 336 * 500.0 / 558);
    EXPECT_DOUBLE_EQ(prepared->rect.height, 301);
  }
  {  // larger field than picture: 100 columns of black on the left, 101 on the right
    config.shortest_edge = 135;
    const auto prepared = preprocess(context, pattern(135, 270, 1), config);
    ASSERT_TRUE(prepared);
    EXPECT_DOUBLE_EQ(prepared->rect.x, -101);
    EXPECT_DOUBLE_EQ(prepared->rect.y, -33);
    EXPECT_DOUBLE_EQ(prepared->rect.width, 336);
  }
  {  // padded: the square around the picture
    config = PreprocessConfig{};
    config.aspect = AspectMode::pad;
    const auto prepared = preprocess(context, pattern(211, 500, 1), config);
    ASSERT_TRUE(prepared);
    EXPECT_DOUBLE_EQ(prepared->rect.x, -144);
    EXPECT_DOUBLE_EQ(prepared->rect.y, 0);
    EXPECT_DOUBLE_EQ(prepared->rect.width, 500);
    EXPECT_DOUBLE_EQ(prepared->rect.height, 500);
  }
}

TEST(Preprocess, a_mark_on_the_picture_is_found_where_rect_says) {
  // White square at (300, 100) to (340, 140) of a black picture; its centre of gravity in the
  // field, taken through rect, must be where it was drawn.
  Image image = Image::filled(700, 420, 0, 0, 0);
  for (int y = 100; y < 140; ++y) {
    for (int x = 300; x < 340; ++x) std::fill_n(image.pixel(x, y), 3, std::uint8_t{255});
  }
  for (const AspectMode aspect : {AspectMode::crop, AspectMode::pad}) {
    PreprocessConfig config;
    config.normalize = false;
    config.aspect = aspect;
    config.mean = {0, 0, 0};  // black padding
    Context context = cpu_context(2);
    const auto prepared = preprocess(context, image, config);
    ASSERT_TRUE(prepared);
    double mass = 0, x_mean = 0, y_mean = 0;
    for (int y = 0; y < prepared->height; ++y) {
      for (int x = 0; x < prepared->width; ++x) {
        const double value = prepared->pixels.as<float>()[y * prepared->width + x];
        mass += value;
        x_mean += value * (x + 0.5);
        y_mean += value * (y + 0.5);
      }
    }
    const PixelRect& rect = prepared->rect;
    EXPECT_NEAR(rect.x + x_mean / mass / prepared->width * rect.width, 320, 0.05);
    EXPECT_NEAR(rect.y + y_mean / mass / prepared->height * rect.height, 120, 0.05);
  }
}

// ---- Pictures and settings that cannot work
// ------------------------------------------------------

TEST(Preprocess, extreme_shapes_are_refused_with_the_limit) {
  Context context = cpu_context(1);
  const auto stretched = preprocess(context, pattern(1, 16384, 1), PreprocessConfig{});
  ASSERT_FALSE(stretched);
  EXPECT_EQ(stretched.error().code, ErrorCode::too_large);
  EXPECT_NE(stretched.error().message.find("100000000"), std::string::npos);

  PreprocessConfig pad;
  pad.aspect = AspectMode::pad;
  const auto squared = preprocess(context, pattern(16384, 3, 1), pad);
  ASSERT_FALSE(squared);
  EXPECT_EQ(squared.error().code, ErrorCode::too_large);

  const auto empty = preprocess(context, Image{}, PreprocessConfig{});
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().code, ErrorCode::bad_input);
  EXPECT_FALSE(preprocess(context, Image{10, 10, {1, 2, 3}}, PreprocessConfig{}));
}

TEST(Preprocess, settings_out_of_range_are_usage_errors) {
  Context context = cpu_context(1);
  PreprocessConfig config;
  config.shortest_edge = 0;
  auto prepared = preprocess(context, pattern(8, 8, 1), config);
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().code, ErrorCode::usage);
  config = PreprocessConfig{};
  config.crop_width = 100000;
  EXPECT_FALSE(preprocess(context, pattern(8, 8, 1), config));
}

// ---- preprocessor_config.json
// --------------------------------------------------------------------

constexpr const char* kLlava15 = R"({
  "crop_size": {"height": 336, "width": 336}, "do_center_crop": true, "do_convert_rgb": true,
  "do_normalize": true, "do_rescale": true, "do_resize": true,
  "image_mean": [0.48145466, 0.4578275, 0.40821073],
  "image_processor_type": "CLIPImageProcessor",
  "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3,
  "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 336}})";

TEST(PreprocessConfig, reads_llava_and_older_forms) {
  for (const std::string& text :
       {std::string(kLlava15), R"({"image_processor": )" + std::string(kLlava15) + "}",
        std::string(R"({"size": 336, "crop_size": 336, "resample": 3,
                        "feature_extractor_type": "CLIPFeatureExtractor"})")}) {
    const PreprocessConfig config = config_of(text);
    EXPECT_EQ(config.shortest_edge, 336);
    EXPECT_EQ(config.crop_width, 336);
    EXPECT_EQ(config.crop_height, 336);
    EXPECT_EQ(config.resample, Resample::bicubic);
    EXPECT_EQ(config.aspect, AspectMode::crop);
    EXPECT_TRUE(config.resize && config.center_crop && config.rescale && config.normalize);
    EXPECT_DOUBLE_EQ(config.mean[0], 0.48145466);
    EXPECT_DOUBLE_EQ(config.std[2], 0.27577711);
    EXPECT_DOUBLE_EQ(config.rescale_factor, 1.0 / 255.0);
  }
}

TEST(PreprocessConfig, absent_fields_take_the_defaults_of_clip) {
  const PreprocessConfig config = config_of(R"({"do_pad": null})");
  EXPECT_EQ(config.shortest_edge, 224);
  EXPECT_EQ(config.crop_height, 224);
  EXPECT_EQ(config.resample, Resample::bicubic);
}

TEST(PreprocessConfig, fixed_sides_and_padding) {
  const PreprocessConfig config =
      config_of(R"({"size": {"height": 96, "width": 160, "longest_edge": null}, "do_pad": true,
                    "image_processor_type": "LlavaImageProcessorFast", "do_center_crop": false,
                    "resample": 2})");
  EXPECT_FALSE(config.shortest_edge.has_value());
  EXPECT_EQ(config.resize_height, 96);
  EXPECT_EQ(config.resize_width, 160);
  EXPECT_EQ(config.aspect, AspectMode::pad);
  EXPECT_FALSE(config.center_crop);
  EXPECT_EQ(config.resample, Resample::bilinear);
}

TEST(PreprocessConfig, bad_values_are_errors_that_name_the_field) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"size": 0})", "size"},
      {R"({"size": 4097})", "size"},
      {R"({"size": -336})", "size"},
      {R"({"size": 336.5})", "size"},
      {R"({"size": "336"})", "size"},
      {R"({"size": [336]})", "size"},
      {R"({"size": {"shortest_edge": 5000}})", "size.shortest_edge"},
      {R"({"size": {"longest_edge": 336}})", "size.longest_edge"},
      {R"({"size": {"height": 336}})", "size.width"},
      {R"({"size": {}})", "size.height"},
      {R"({"crop_size": {"shortest_edge": 336}})", "crop_size.shortest_edge"},
      {R"({"crop_size": {"height": 1e9, "width": 3}})", "crop_size.height"},
      {R"({"resample": 4})", "resample"},
      {R"({"resample": 7})", "resample"},
      {R"({"resample": "bicubic"})", "resample"},
      {R"({"image_mean": [0.5, 0.5]})", "image_mean"},
      {R"({"image_mean": 0.5})", "image_mean"},
      {R"({"image_mean": [0.5, 0.5, "x"]})", "image_mean"},
      {R"({"image_std": [0.5, 0.5, 0]})", "image_std"},
      {R"({"image_std": [0.5, 0.5, 1e300]})", "image_std"},
      {R"({"image_std": [0.5, 0.5, 0.5, 0.5]})", "image_std"},
      {R"({"rescale_factor": "1/255"})", "rescale_factor"},
      {R"({"rescale_factor": 1e300})", "rescale_factor"},
      {R"({"do_resize": 1})", "do_resize"},
      {R"({"do_pad": "yes"})", "do_pad"},
      {R"({"image_processor_type": "LlavaNextImageProcessor"})", "image_processor_type"},
      {R"({"image_processor_type": 3})", "image_processor_type"},
  };
  for (const auto& [text, field] : cases) {
    const Error error = config_error(text);
    EXPECT_EQ(error.field, field) << text;
    EXPECT_EQ(error.file, "preprocessor_config.json") << text;
    EXPECT_TRUE(error.code == ErrorCode::bad_model || error.code == ErrorCode::unsupported) << text;
  }
  config_error("[]");
  config_error("3");
}

TEST(PreprocessConfig, absent_fields_take_the_defaults_of_the_named_processor) {
  const PreprocessConfig vit = config_of(R"({"feature_extractor_type": "ViTFeatureExtractor"})");
  EXPECT_FALSE(vit.shortest_edge);
  EXPECT_EQ(vit.resize_width, 224);
  EXPECT_EQ(vit.resample, Resample::bilinear);
  EXPECT_FALSE(vit.center_crop);
  EXPECT_DOUBLE_EQ(vit.mean[1], 0.5);
  EXPECT_DOUBLE_EQ(vit.std[2], 0.5);
  const PreprocessConfig square = config_of(R"({"image_processor_type": "ViTImageProcessorFast",
                                                "size": 96})");
  EXPECT_FALSE(square.shortest_edge);
  EXPECT_EQ(square.resize_height, 96);

  const PreprocessConfig deit = config_of(R"({"image_processor_type": "DeiTImageProcessor"})");
  EXPECT_FALSE(deit.shortest_edge);
  EXPECT_EQ(deit.resize_width, 256);
  EXPECT_EQ(deit.resample, Resample::bicubic);
  EXPECT_TRUE(deit.center_crop);
  EXPECT_EQ(deit.crop_width, 224);
}

TEST(PreprocessConfig, a_file_that_names_no_processor_takes_the_model_s) {
  const auto json = parse_json(R"({"size": 224, "image_mean": [0.5, 0.5, 0.5]})");
  ASSERT_TRUE(json);
  PreprocessDefaults defaults;
  defaults.processor = "ViTImageProcessor";
  const auto config = parse_preprocess_config(*json, "preprocessor_config.json", defaults);
  ASSERT_TRUE(config) << config.error().to_string();
  EXPECT_EQ(config->resample, Resample::bilinear);
  EXPECT_FALSE(config->center_crop);
}

TEST(Preprocess, grey_models_see_the_luminance_of_pillow) {
  // Image.new("RGB", (1, 1), color).convert("L") of Pillow 11.
  const std::vector<std::array<int, 4>> cases = {
      {10, 200, 30, 124}, {255, 0, 0, 76},      {0, 255, 0, 150}, {0, 0, 255, 29},
      {1, 2, 3, 2},       {254, 255, 253, 254}, {77, 77, 77, 77}};
  PreprocessConfig config;
  config.channels = 1;
  config.resize = config.center_crop = config.rescale = config.normalize = false;
  Context context = cpu_context(1);
  for (const auto& [r, g, b, grey] : cases) {
    const auto prepared =
        preprocess(context,
                   Image::filled(3, 2, static_cast<std::uint8_t>(r), static_cast<std::uint8_t>(g),
                                 static_cast<std::uint8_t>(b)),
                   config);
    ASSERT_TRUE(prepared) << prepared.error().to_string();
    ASSERT_EQ(prepared->pixels.shape(), Shape({1, 2, 3}));
    for (int i = 0; i < 6; ++i)
      EXPECT_EQ(prepared->pixels.as<float>()[i], static_cast<float>(grey));
  }
}

}  // namespace
}  // namespace fovea
