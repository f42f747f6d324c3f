#include "vlm/vision_tower.h"

#include <set>
#include <utility>

#include "kernels/device.h"
#include "kernels/weights/weight_reader.h"
#include "vision/config_fields.h"
#include "vision/model_json.h"

namespace fovea {

namespace {

constexpr std::uint64_t kMaxHashedBytes = std::uint64_t{2} << 30;  // as LlavaModel

}  // namespace

Result<VisionTower> VisionTower::load(const std::string& folder, const LoadOptions& options) {
  VisionTower tower;
  tower.dtype_ = options.dtype == DTypeChoice::bf16  ? LinearDType::bf16
                 : options.dtype == DTypeChoice::f16 ? LinearDType::f16
                                                     : LinearDType::f32;
  tower.device_ = options.device;
  FOVEA_TRY(const Json json, read_model_json(folder, "config.json"));
  const ConfigFields fields(json, path_in(folder, "config.json"));
  FOVEA_TRY(const std::string type, fields.text("model_type", ""));
  if (type != "llava") {
    FOVEA_TRY(tower.classifier_, VitClassifier::load(folder, {.dtype = tower.dtype_,
                                                              .threads = options.threads,
                                                              .device = options.device}));
    tower.preprocess_ = tower.classifier_->config().preprocess;
    tower.model_id_ = tower.classifier_->config().model_id;
    return tower;
  }
  FOVEA_TRY(const LlavaConfig config, read_llava_config(folder));
  FOVEA_TRY(WeightFiles files, WeightFiles::open(folder));
  tower.files_ = std::make_unique<WeightFiles>(std::move(files));
  FOVEA_TRY(const LlavaNaming naming, detect_llava_naming(*tower.files_));
  FOVEA_TRY(Context context, make_context(options.device, options.threads));
  std::set<std::string> used;
  const WeightReader weights(*tower.files_, used, naming.vision);
  FOVEA_TRY(VitEncoder encoder, VitEncoder::load(context, config.vision, weights, tower.dtype_,
                                                 config.vision_run_layers));
  tower.encoder_ = std::make_unique<VitEncoder>(std::move(encoder));
  tower.preprocess_ = config.preprocess;
  tower.model_id_ = config.model_id;
  return tower;
}

std::string VisionTower::sha256() const {
  const WeightFiles& files = classifier_ ? classifier_->weights() : *files_;
  if (files.bytes() > kMaxHashedBytes) return "";
  return classifier_ ? classifier_->sha256() : files.sha256();
}

}  // namespace fovea
