#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "vision/config_fields.h"
#include "vision/preprocess.h"

namespace fovea {

namespace {

constexpr int kMaxSide = 4096;
constexpr int kDefaultSide = 224;  // CLIPImageProcessor's, where a file says nothing

struct Sides {
  std::optional<int> shortest_edge;
  int width = kDefaultSide, height = kDefaultSide;
};

/// A size in the forms found in the wild: 336, {"shortest_edge": 336}, {"height": 336, "width":
/// 336}.
Result<Sides> parse_sides(const ConfigFields& fields, const std::string& name,
                          const std::string& file, const Sides& absent, bool number_is_an_edge) {
  const Json* value = fields.find(name);
  if (value == nullptr) return absent;
  Sides sides;
  if (!value->is_object()) {
    FOVEA_TRY(const std::int64_t side, fields.integer(name, kDefaultSide, 1, kMaxSide));
    sides.width = sides.height = static_cast<int>(side);
    if (number_is_an_edge) sides.shortest_edge = static_cast<int>(side);
    return sides;
  }
  const ConfigFields inner(*value, file, name + ".");
  for (const auto& [key, member] : value->as_object()) {
    const bool edge = key == "shortest_edge" && number_is_an_edge;
    if (!edge && key != "height" && key != "width" && !member.is_null()) {
      return inner.error(key, "this way of giving a size is not supported", ErrorCode::unsupported);
    }
  }
  if (inner.find("shortest_edge") != nullptr) {
    FOVEA_TRY(const std::int64_t side, inner.integer("shortest_edge", 0, 1, kMaxSide));
    sides.shortest_edge = static_cast<int>(side);
    return sides;
  }
  for (const char* key : {"height", "width"}) {
    if (inner.find(key) == nullptr) return inner.error(key, "this size has no " + std::string(key));
  }
  FOVEA_TRY(const std::int64_t height, inner.integer("height", 0, 1, kMaxSide));
  FOVEA_TRY(const std::int64_t width, inner.integer("width", 0, 1, kMaxSide));
  sides.height = static_cast<int>(height);
  sides.width = static_cast<int>(width);
  return sides;
}

Result<std::array<double, 3>> parse_channels(const ConfigFields& fields, const std::string& name,
                                             const std::array<double, 3>& absent, int channels) {
  const Json* value = fields.find(name);
  if (value == nullptr) return absent;
  const auto moderate = [](const Json& number) {
    return number.is_number() && std::abs(number.as_double()) <= 1e6;
  };
  std::array<double, 3> numbers = absent;  // a grey model uses the first alone
  if (!value->is_array() || value->as_array().size() != static_cast<std::size_t>(channels) ||
      !std::ranges::all_of(value->as_array(), moderate)) {
    return fields.error(name, channels == 3 ? "expected a list of three numbers of moderate size"
                                            : "expected a list of one number of moderate size");
  }
  for (std::size_t channel = 0; channel < value->as_array().size(); ++channel) {
    numbers[channel] = value->as_array()[channel].as_double();
  }
  return numbers;
}

/// What transformers assumes where a file says nothing, by the processor the file names.
struct Processor {
  std::string_view name;
  std::optional<int> shortest_edge;  // or a square of:
  int side;
  int resample;
  bool center_crop;
  bool clip_colors;  // CLIP's mean and deviation; else 0.5 and 0.5
};
constexpr Processor kProcessors[] = {
    {"CLIPImageProcessor", 224, 224, 3, true, true},
    {"CLIPFeatureExtractor", 224, 224, 3, true, true},
    {"LlavaImageProcessor", 224, 224, 3, true, true},
    {"ViTImageProcessor", {}, 224, 2, false, false},
    {"ViTFeatureExtractor", {}, 224, 2, false, false},
    {"DeiTImageProcessor", {}, 256, 3, true, false},
    {"DeiTFeatureExtractor", {}, 256, 3, true, false},
};

Result<Processor> find_processor(const ConfigFields& fields, const std::string& absent) {
  // Older files name the feature extractor instead, or nothing.
  FOVEA_TRY(const std::string older, fields.text("feature_extractor_type", absent));
  FOVEA_TRY(std::string type, fields.text("image_processor_type", older));
  for (const std::string_view suffix :
       {"Fast", "Pil"}) {  // other implementations of the same thing
    if (type.ends_with(suffix)) type.resize(type.size() - suffix.size());
  }
  for (const Processor& processor : kProcessors) {
    if (processor.name == type) return processor;
  }
  return fields.error("image_processor_type",
                      "the image processor '" + type.substr(0, 60) + "' is not supported",
                      ErrorCode::unsupported);
}

}  // namespace

Result<PreprocessConfig> parse_preprocess_config(const Json& json, const std::string& file,
                                                 const PreprocessDefaults& defaults) {
  const Json* object = json.find("image_processor");
  if (object == nullptr || !object->is_object()) object = &json;
  if (!object->is_object()) {
    return make_error(ErrorCode::bad_model, "expected a JSON object").in_file(file);
  }
  const ConfigFields fields(*object, file);

  FOVEA_TRY(const Processor processor, find_processor(fields, defaults.processor));
  PreprocessConfig config;
  config.channels = defaults.channels;
  if (!processor.clip_colors) {
    config.mean.fill(0.5);
    config.std.fill(0.5);
  }
  FOVEA_TRY(config.resize, fields.boolean("do_resize", true));
  FOVEA_TRY(const Sides size, parse_sides(fields, "size", file,
                                          {processor.shortest_edge, processor.side, processor.side},
                                          processor.shortest_edge.has_value()));
  config.shortest_edge = size.shortest_edge;
  config.resize_width = size.width;
  config.resize_height = size.height;

  FOVEA_TRY(const std::int64_t resample, fields.integer("resample", processor.resample, 0, 5));
  switch (resample) {
    case 0:
      config.resample = Resample::nearest;
      break;
    case 1:
      config.resample = Resample::lanczos;
      break;
    case 2:
      config.resample = Resample::bilinear;
      break;
    case 3:
      config.resample = Resample::bicubic;
      break;
    default:
      return fields.error(
          "resample",
          "Pillow's filter " + std::to_string(resample) +
              " is not supported; 0 (nearest), 1 (Lanczos), 2 (bilinear) and 3 (bicubic) are",
          ErrorCode::unsupported);
  }

  FOVEA_TRY(config.center_crop, fields.boolean("do_center_crop", processor.center_crop));
  FOVEA_TRY(const Sides crop, parse_sides(fields, "crop_size", file, {}, false));
  config.crop_width = crop.width;
  config.crop_height = crop.height;

  FOVEA_TRY(config.rescale, fields.boolean("do_rescale", true));
  FOVEA_TRY(config.rescale_factor, fields.number("rescale_factor", 1.0 / 255.0, -1e6, 1e6));
  FOVEA_TRY(config.normalize, fields.boolean("do_normalize", true));
  FOVEA_TRY(config.mean, parse_channels(fields, "image_mean", config.mean, config.channels));
  FOVEA_TRY(config.std, parse_channels(fields, "image_std", config.std, config.channels));
  if (std::ranges::any_of(config.std, [](double value) { return std::abs(value) < 1e-6; })) {
    return fields.error("image_std", "a standard deviation of zero");
  }
  FOVEA_TRY(const bool pad, fields.boolean("do_pad", false));
  if (pad) config.aspect = AspectMode::pad;
  return config;
}

}  // namespace fovea
