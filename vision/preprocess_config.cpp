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
                                             const std::array<double, 3>& absent) {
  const Json* value = fields.find(name);
  if (value == nullptr) return absent;
  if (!value->is_array() || value->as_array().size() != 3) {
    return fields.error(name, "expected a list of three numbers");
  }
  std::array<double, 3> channels{};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const Json& item = value->as_array()[channel];
    if (!item.is_number() || !(std::abs(item.as_double()) <= 1e6)) {
      return fields.error(name, "expected a list of three numbers of moderate size");
    }
    channels[channel] = item.as_double();
  }
  return channels;
}

}  // namespace

Result<PreprocessConfig> parse_preprocess_config(const Json& json, const std::string& file) {
  const Json* object = json.find("image_processor");
  if (object == nullptr || !object->is_object()) object = &json;
  if (!object->is_object()) {
    return make_error(ErrorCode::bad_model, "expected a JSON object").in_file(file);
  }
  const ConfigFields fields(*object, file);

  FOVEA_TRY(std::string type, fields.text("image_processor_type", "CLIPImageProcessor"));
  for (const std::string_view suffix :
       {"Fast", "Pil"}) {  // other implementations of the same thing
    if (type.ends_with(suffix)) type.resize(type.size() - suffix.size());
  }
  if (type != "CLIPImageProcessor" && type != "LlavaImageProcessor" &&
      type != "CLIPFeatureExtractor") {
    return fields.error("image_processor_type",
                        "the image processor '" + type.substr(0, 60) + "' is not supported",
                        ErrorCode::unsupported);
  }

  PreprocessConfig config;
  FOVEA_TRY(config.resize, fields.boolean("do_resize", true));
  FOVEA_TRY(const Sides size, parse_sides(fields, "size", file, {kDefaultSide}, true));
  config.shortest_edge = size.shortest_edge;
  config.resize_width = size.width;
  config.resize_height = size.height;

  FOVEA_TRY(const std::int64_t resample, fields.integer("resample", 3, 0, 5));
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

  FOVEA_TRY(config.center_crop, fields.boolean("do_center_crop", true));
  FOVEA_TRY(const Sides crop, parse_sides(fields, "crop_size", file, {}, false));
  config.crop_width = crop.width;
  config.crop_height = crop.height;

  FOVEA_TRY(config.rescale, fields.boolean("do_rescale", true));
  FOVEA_TRY(config.rescale_factor, fields.number("rescale_factor", 1.0 / 255.0, -1e6, 1e6));
  FOVEA_TRY(config.normalize, fields.boolean("do_normalize", true));
  FOVEA_TRY(config.mean, parse_channels(fields, "image_mean", config.mean));
  FOVEA_TRY(config.std, parse_channels(fields, "image_std", config.std));
  if (std::ranges::any_of(config.std, [](double value) { return std::abs(value) < 1e-6; })) {
    return fields.error("image_std", "a standard deviation of zero");
  }
  FOVEA_TRY(const bool pad, fields.boolean("do_pad", false));
  if (pad) config.aspect = AspectMode::pad;
  return config;
}

}  // namespace fovea
