#include "app/model_folder.h"

#include <cstdlib>
#include <filesystem>

#include "kernels/base/parallel.h"
#include "kernels/device.h"
#include "kernels/ops/linear/algorithms.h"
#include "vlm/bundled.h"

namespace fovea::app {

Result<std::string> find_model_folder(const ModelOptions& options) {
  if (options.model.empty()) {
    auto folder = default_model_folder();
    if (folder) return folder;
    return std::move(folder).error().with_remedy(
        "Name a model folder with --model DIR or in the environment as FOVEA_MODEL");
  }
  std::error_code failure;
  if (std::filesystem::is_directory(options.model, failure)) return options.model;
  return make_error(ErrorCode::not_found, "there is no model folder of this name")
      .in_file(options.model)
      .with_remedy("--model takes the folder that holds config.json and the weights");
}

Result<std::string> find_classifier_folder(const ModelOptions& options) {
  const char* named = std::getenv("FOVEA_MODEL");
  if (!options.model.empty() || (named != nullptr && *named != '\0')) {
    return find_model_folder(options);
  }
  auto folder = find_bundled("models/fovea-vit");
  if (folder) return folder;
  return std::move(folder).error().with_remedy("Name the folder of a ViT with --model DIR");
}

namespace {

Result<Device> choose_device(const std::string& name) {
  if (name == "cpu") return Device{};
  if (name == "auto") return best_device();
  if (!built_with_cuda()) {
    return make_error(ErrorCode::device,
                      "this build of fovea has no CUDA: it computes on the CPU only")
        .in_field("--device " + name)
        .with_remedy("Use --device cpu");
  }
  const std::string prefix = "cuda:";
  const int index = name.starts_with(prefix) ? std::atoi(name.c_str() + prefix.size()) : 0;
  FOVEA_CHECK(cuda_device_info(index));
  return Device{DeviceKind::cuda, index};
}

}  // namespace

Result<LoadOptions> load_options(const ModelOptions& options) {
  LoadOptions load;
  FOVEA_TRY(load.device, choose_device(options.device));
  if (options.dtype == "f32") {
    load.dtype = DTypeChoice::f32;
  } else if (options.dtype == "bf16") {
    load.dtype = DTypeChoice::bf16;
  } else if (options.dtype == "f16" && load.device.kind == DeviceKind::cuda) {
    load.dtype = DTypeChoice::f16;
  } else if (options.dtype != "auto") {
    const bool cpu = load.device.kind == DeviceKind::cpu;
    return make_error(ErrorCode::device, std::string(cpu ? "the CPU offers f32 and bf16"
                                                         : "a GPU offers f32, bf16 and f16") +
                                             ", not " + options.dtype)
        .in_field("--dtype " + options.dtype)
        .with_remedy(cpu ? "Use --dtype f32, bf16 or auto" : "Use --dtype f32, bf16, f16 or auto");
  }
  FOVEA_CHECK(use_algorithm_table(load.device, options.autotune));
  load.threads = options.threads > 0 ? options.threads : available_threads();
  return load;
}

Result<std::shared_ptr<const LlavaModel>> load_model(const ModelOptions& options) {
  FOVEA_TRY(const LoadOptions load, load_options(options));
  FOVEA_TRY(const std::string folder, find_model_folder(options));
  return LlavaModel::load(folder, load);
}

}  // namespace fovea::app
