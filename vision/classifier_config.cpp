#include "vision/classifier_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>

#include "kernels/weights/weight_reader.h"
#include "vision/config_fields.h"
#include "vision/model_json.h"
#include "vision/vit_names.h"

namespace fovea {

namespace {

std::string folder_name(const std::string& folder) {
  std::filesystem::path path(folder);
  if (path.filename().empty()) path = path.parent_path();
  return path.filename().string();
}

/// Where the tower's tensors begin.
std::string find_prefix(const WeightFiles& files) {
  std::set<std::string> unused;
  for (const char* prefix : {"vit.", "deit.", ""}) {
    const WeightReader reader(files, unused, prefix);
    const VitNames& names = find_vit_names(reader);
    if (reader.contains(names.class_token)) return prefix;
  }
  return "";
}

/// Heads for the class token and, behind it, the distillation token.
std::vector<std::string> find_heads(const WeightFiles& files, bool distillation_token) {
  std::vector<std::string> heads;
  const auto has = [&](const std::string& name) { return files.contains(name + ".weight"); };
  for (const char* name : {"classifier", "cls_classifier", "head"}) {
    if (heads.empty() && has(name)) heads.push_back(std::string(name) + ".");
  }
  for (const char* name : {"distillation_classifier", "head_dist"}) {
    if (heads.size() == 1 && distillation_token && has(name)) {
      heads.push_back(std::string(name) + ".");
    }
  }
  return heads;
}

// ---- Labels ------------------------------------------------------------------------------------

/// {"0": "cat", "1": "dog"}: one label for each class from 0 on.
Result<std::vector<std::string>> parse_id2label(const ConfigFields& fields) {
  const Json* table = fields.find("id2label");
  std::vector<std::string> labels;
  if (table == nullptr) return labels;
  if (!table->is_object()) return fields.error("id2label", "expected an object of labels");
  const auto& members = table->as_object();
  labels.resize(members.size());
  std::vector<bool> seen(members.size(), false);
  for (const auto& [key, label] : members) {
    std::size_t index = 0;
    const auto [end, failure] = std::from_chars(key.data(), key.data() + key.size(), index);
    const bool number = failure == std::errc() && end == key.data() + key.size();
    if (!number || index >= members.size() || seen[index] || !label.is_string()) {
      return fields.error(
          "id2label", "expected the classes 0 to " + std::to_string(members.size() - 1) +
                          " with a text each; '" + key.substr(0, 60) + "' does not belong there");
    }
    seen[index] = true;
    labels[index] = label.as_string();
  }
  return labels;
}

Result<std::vector<std::string>> parse_label_names(const ConfigFields& fields) {
  const Json* list = fields.find("label_names");
  std::vector<std::string> labels;
  if (list == nullptr) return labels;
  const auto is_text = [](const Json& item) { return item.is_string(); };
  if (!list->is_array() || !std::ranges::all_of(list->as_array(), is_text)) {
    return fields.error("label_names", "expected a list of labels");
  }
  for (const Json& item : list->as_array()) labels.push_back(item.as_string());
  return labels;
}

// ---- Hugging Face ------------------------------------------------------------------------------

Status read_hugging_face(const std::string& folder, const Json& json, const WeightFiles& files,
                         ClassifierConfig& config) {
  const std::string file = path_in(folder, "config.json");
  FOVEA_TRY(config.vit, parse_vit_config(json, file));
  if (files.contains(config.prefix + "pos_embed")) {  // timm's names under such a configuration
    config.vit.distillation_token = files.contains(config.prefix + "dist_token");
  }
  FOVEA_TRY(config.labels, parse_id2label(ConfigFields(json, file)));
  FOVEA_TRY(const Json steps, read_model_json(folder, "preprocessor_config.json"));
  PreprocessDefaults defaults;
  defaults.processor =
      json.find("model_type")->as_string() == "deit" ? "DeiTImageProcessor" : "ViTImageProcessor";
  defaults.channels = static_cast<int>(config.vit.channels);
  FOVEA_TRY(config.preprocess,
            parse_preprocess_config(steps, path_in(folder, "preprocessor_config.json"), defaults));
  return {};
}

// ---- timm --------------------------------------------------------------------------------------

/// The extents of a tensor that must be there with this rank.
Result<std::vector<std::int64_t>> shape_of(const WeightFiles& files, const std::string& name,
                                           std::size_t rank) {
  const SafetensorsEntry* entry = files.find(name);
  if (entry != nullptr && entry->shape.size() == rank) return entry->shape;
  return make_error(ErrorCode::bad_model,
                    entry == nullptr ? "a ViT under timm's names needs this tensor"
                                     : "expected " + std::to_string(rank) + " axes, found " +
                                           std::to_string(entry->shape.size()))
      .in_file(files.file_of(name))
      .in_field(name);
}

Result<std::int64_t> timm_heads(const ConfigFields& fields, const ConfigFields& arguments,
                                std::int64_t hidden) {
  constexpr std::int64_t kMaxHeads = 1024;
  for (const ConfigFields* source : {&arguments, &fields}) {
    if (source->find("num_heads") != nullptr) return source->integer("num_heads", 0, 1, kMaxHeads);
  }
  FOVEA_TRY(const std::string architecture, fields.text("architecture", ""));
  for (const char* size : {"tiny", "small", "base", "large"}) {
    if (architecture.find(size) != std::string::npos && hidden % 64 == 0) return hidden / 64;
  }
  return arguments.error("num_heads", "the architecture's name does not say how many heads it has")
      .with_remedy("Write model_args.num_heads into config.json");
}

/// Sizes by the shapes of the tensors: timm's configuration repeats few of them.
Result<VitConfig> timm_sizes(const ConfigFields& fields, const ConfigFields& arguments,
                             const WeightFiles& files, const std::string& prefix) {
  FOVEA_TRY(const auto patch, shape_of(files, prefix + "patch_embed.proj.weight", 4));
  FOVEA_TRY(const auto positions, shape_of(files, prefix + "pos_embed", 3));
  FOVEA_TRY(const auto mlp, shape_of(files, prefix + "blocks.0.mlp.fc1.weight", 2));
  VitConfig vit;
  vit.hidden_size = patch[0];
  vit.channels = patch[1];
  vit.patch_size = patch[3];
  vit.intermediate_size = mlp[0];
  vit.layers = 0;
  while (files.contains(prefix + "blocks." + std::to_string(vit.layers) + ".norm1.weight")) {
    ++vit.layers;
  }
  vit.layer_norm_eps = 1e-6;
  vit.activation = Activation::gelu_erf;
  vit.pre_norm = files.contains(prefix + "norm_pre.weight");
  vit.patch_bias = files.contains(prefix + "patch_embed.proj.bias");
  vit.qkv_bias = files.contains(prefix + "blocks.0.attn.qkv.bias");
  vit.distillation_token = files.contains(prefix + "dist_token");
  const std::int64_t cells = positions[1] - vit.prefix_tokens();
  const auto grid = static_cast<std::int64_t>(
      std::lround(std::sqrt(std::max<double>(0.0, static_cast<double>(cells)))));
  const bool sensible = vit.hidden_size >= 1 && vit.hidden_size <= 16384 && vit.layers >= 1 &&
                        vit.intermediate_size >= 1 && vit.patch_size >= 1 &&
                        vit.patch_size == patch[2] && grid >= 1 && grid * grid == cells &&
                        grid * vit.patch_size <= 4096;
  if (!sensible) {
    return make_error(ErrorCode::unsupported,
                      "the patches and positions are not those of a square ViT with a class token")
        .in_file(files.file_of(prefix + "pos_embed"))
        .in_field(prefix + "pos_embed");
  }
  if (vit.channels != 1 && vit.channels != 3) {
    return make_error(ErrorCode::unsupported,
                      "expected 1 (grey) or 3 (red, green, blue) channels, "
                      "found " +
                          std::to_string(vit.channels))
        .in_file(files.file_of(prefix + "patch_embed.proj.weight"))
        .in_field(prefix + "patch_embed.proj.weight");
  }
  vit.image_size = grid * vit.patch_size;
  FOVEA_TRY(vit.heads, timm_heads(fields, arguments, vit.hidden_size));
  return vit;
}

Result<Resample> timm_interpolation(const ConfigFields& fields) {
  FOVEA_TRY(const std::string name, fields.text("interpolation", "bicubic"));
  if (name == "bicubic") return Resample::bicubic;
  if (name == "bilinear") return Resample::bilinear;
  if (name == "nearest") return Resample::nearest;
  if (name == "lanczos") return Resample::lanczos;
  return fields.error("interpolation", "'" + name.substr(0, 60) + "' is not supported",
                      ErrorCode::unsupported);
}

Result<std::array<double, 3>> timm_colors(const ConfigFields& fields, const char* name,
                                          std::array<double, 3> absent, std::int64_t channels) {
  const Json* list = fields.find(name);
  if (list == nullptr) return absent;
  const auto moderate = [](const Json& item) {
    return item.is_number() && std::abs(item.as_double()) <= 1e6;
  };
  if (!list->is_array() || std::ssize(list->as_array()) != channels ||
      !std::ranges::all_of(list->as_array(), moderate)) {
    return fields.error(name, "expected one number of moderate size for each channel");
  }
  for (std::size_t i = 0; i < list->as_array().size(); ++i) {
    absent[i] = list->as_array()[i].as_double();
  }
  return absent;
}

/// timm's evaluation transform: shortest edge to size / crop_pct, centre crop, mean and deviation.
Result<PreprocessConfig> timm_preprocess(const ConfigFields& fields, const VitConfig& vit) {
  PreprocessConfig steps;
  steps.channels = static_cast<int>(vit.channels);
  FOVEA_TRY(const double crop, fields.number("crop_pct", 0.875, 0.05, 1.0));
  FOVEA_TRY(const std::string mode, fields.text("crop_mode", "center"));
  if (mode != "center") {
    return fields.error("crop_mode", "'" + mode.substr(0, 60) + "' is not supported",
                        ErrorCode::unsupported);
  }
  const auto side = static_cast<int>(vit.image_size);
  steps.shortest_edge = static_cast<int>(std::floor(side / crop));
  steps.crop_width = steps.crop_height = side;
  FOVEA_TRY(steps.resample, timm_interpolation(fields));
  FOVEA_TRY(steps.mean, timm_colors(fields, "mean", {0.485, 0.456, 0.406}, vit.channels));
  FOVEA_TRY(steps.std, timm_colors(fields, "std", {0.229, 0.224, 0.225}, vit.channels));
  if (std::ranges::any_of(steps.std, [](double value) { return std::abs(value) < 1e-6; })) {
    return fields.error("std", "a standard deviation of zero");
  }
  return steps;
}

Status read_timm(const std::string& file, const Json& json, const WeightFiles& files,
                 ClassifierConfig& config) {
  const Json none = Json::object();
  const ConfigFields fields(json, file);
  const auto part = [&](const char* name) {
    const Json* inner = fields.find(name);
    return ConfigFields(inner != nullptr && inner->is_object() ? *inner : none, file,
                        std::string(name) + ".");
  };
  FOVEA_TRY(const std::string pool, fields.text("global_pool", "token"));
  if (pool != "token") {
    return fields.error(
        "global_pool",
        "expected token (the class token decides), found '" + pool.substr(0, 60) + "'",
        ErrorCode::unsupported);
  }
  FOVEA_TRY(config.vit, timm_sizes(fields, part("model_args"), files, config.prefix));
  FOVEA_CHECK(check_vit_sizes(config.vit, file));
  FOVEA_TRY(config.labels, parse_label_names(fields));
  FOVEA_TRY(config.preprocess, timm_preprocess(part("pretrained_cfg"), config.vit));
  return {};
}

// ---- Both --------------------------------------------------------------------------------------

/// Sizes of preprocessing grow with the picture's.
void scale_preprocess(PreprocessConfig& steps, double factor) {
  const auto scaled = [factor](int side) { return static_cast<int>(std::lround(side * factor)); };
  if (steps.shortest_edge) steps.shortest_edge = scaled(*steps.shortest_edge);
  steps.resize_width = scaled(steps.resize_width);
  steps.resize_height = scaled(steps.resize_height);
  steps.crop_width = scaled(steps.crop_width);
  steps.crop_height = scaled(steps.crop_height);
}

/// The prepared picture must be the one the tower reads.
Status check_prepared_size(const ClassifierConfig& config, const std::string& file) {
  const PreprocessConfig& steps = config.preprocess;
  const bool fixed = steps.center_crop || (steps.resize && !steps.shortest_edge);
  const std::int64_t width = steps.center_crop ? steps.crop_width : steps.resize_width;
  const std::int64_t height = steps.center_crop ? steps.crop_height : steps.resize_height;
  const std::int64_t side = config.vit.image_size;
  if (fixed && width == side && height == side) return {};
  return make_error(ErrorCode::bad_model,
                    "pictures are prepared " +
                        (fixed ? "at " + std::to_string(width) + " x " + std::to_string(height)
                               : std::string("in sizes of their own")) +
                        ", the model reads " + std::to_string(side) + " x " + std::to_string(side))
      .in_file(file)
      .in_field("size");
}

}  // namespace

Result<ClassifierConfig> read_classifier_config(const std::string& folder, const WeightFiles& files,
                                                std::int64_t image_size) {
  const std::string file = path_in(folder, "config.json");
  FOVEA_TRY(const Json json, read_model_json(folder, "config.json"));
  const ConfigFields fields(json, file);
  ClassifierConfig config;
  config.model_id = folder_name(folder);
  config.prefix = find_prefix(files);
  FOVEA_TRY(const std::string type, fields.text("model_type", ""));
  FOVEA_TRY(const std::string architecture, fields.text("architecture", ""));
  const bool timm = type.empty() && !architecture.empty();
  if (timm) {
    FOVEA_CHECK(read_timm(file, json, files, config));
  } else if (type == "vit" || type == "deit") {
    FOVEA_CHECK(read_hugging_face(folder, json, files, config));
  } else {
    return fields
        .error("model_type",
               "expected vit or deit (or timm's architecture), found '" + type.substr(0, 60) + "'",
               ErrorCode::unsupported)
        .with_remedy("--model takes the folder of a ViT or DeiT");
  }
  FOVEA_CHECK(
      check_prepared_size(config, timm ? file : path_in(folder, "preprocessor_config.json")));
  if (image_size > 0 && image_size != config.vit.image_size) {
    const double factor =
        static_cast<double>(image_size) / static_cast<double>(config.vit.image_size);
    FOVEA_TRY(config.vit, with_image_size(config.vit, image_size));
    scale_preprocess(config.preprocess, factor);
    FOVEA_CHECK(check_prepared_size(config, file));
  }
  config.heads = find_heads(files, config.vit.distillation_token);
  return config;
}

}  // namespace fovea
