#include "app/model_folder.h"

#include <cstdlib>
#include <filesystem>

#include "kernels/base/parallel.h"

namespace fovea::app {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBundledModel = "fovea-base";
constexpr int kFoldersAbove = 4;

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

}  // namespace

std::vector<std::string> bundled_model_places(const std::string& executable,
                                              const std::string& name) {
  std::vector<std::string> places;
  fs::path folder = fs::path(executable).parent_path();
  places.push_back((folder.parent_path() / "share" / "fovea" / "models" / name).string());
  for (int level = 0; level < kFoldersAbove && folder.has_relative_path(); ++level) {
    places.push_back((folder / "assets" / "models" / name).string());
    folder = folder.parent_path();
  }
  return places;
}

Result<std::string> find_model_folder(const ModelOptions& options) {
  if (!options.model.empty()) {
    if (is_folder(options.model)) return options.model;
    return make_error(ErrorCode::not_found, "there is no model folder of this name")
        .in_file(options.model)
        .with_remedy("--model takes the folder that holds config.json and the weights");
  }
  const char* named = std::getenv("FOVEA_MODEL");
  if (named != nullptr && *named != '\0') {
    if (is_folder(named)) return std::string(named);
    return make_error(ErrorCode::not_found, "FOVEA_MODEL names a folder that is not there")
        .in_file(named);
  }
  std::error_code failure;
  const fs::path executable = fs::read_symlink("/proc/self/exe", failure);
  std::string looked;
  if (!failure) {
    for (const std::string& place : bundled_model_places(executable.string(), kBundledModel)) {
      if (is_folder(place)) return place;
      looked += (looked.empty() ? "" : ", ") + place;
    }
  }
  return make_error(ErrorCode::not_found, "the bundled model " + std::string(kBundledModel) +
                                              " was not found; looked at " +
                                              (looked.empty() ? "nothing" : looked))
      .with_remedy("Name a model folder with --model DIR or in the environment as FOVEA_MODEL");
}

Result<LoadOptions> load_options(const ModelOptions& options) {
  if (options.device.rfind("cuda", 0) == 0) {
    return make_error(ErrorCode::device,
                      "this build of fovea has no CUDA: it computes on the CPU only")
        .in_field("--device " + options.device)
        .with_remedy("Use --device cpu");
  }
  LoadOptions load;
  if (options.dtype == "f32") {
    load.dtype = DTypeChoice::f32;
  } else if (options.dtype == "bf16") {
    load.dtype = DTypeChoice::bf16;
  } else if (options.dtype != "auto") {
    return make_error(ErrorCode::device, "the CPU offers f32 and bf16, not " + options.dtype)
        .in_field("--dtype " + options.dtype)
        .with_remedy("Use --dtype f32, bf16 or auto");
  }
  load.threads = options.threads > 0 ? options.threads : available_threads();
  return load;
}

Result<std::shared_ptr<const LlavaModel>> load_model(const ModelOptions& options) {
  FOVEA_TRY(const LoadOptions load, load_options(options));
  FOVEA_TRY(const std::string folder, find_model_folder(options));
  return LlavaModel::load(folder, load);
}

}  // namespace fovea::app
