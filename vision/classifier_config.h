#pragma once
// What the folder of a ViT or DeiT says about itself: Hugging Face's config.json or timm's.

#include <string>
#include <vector>

#include "kernels/weights/safetensors.h"
#include "vision/preprocess.h"
#include "vision/vit_config.h"

namespace fovea {

struct ClassifierConfig {
  std::string model_id;  // folder name, for reports
  VitConfig vit;
  PreprocessConfig preprocess;
  std::string prefix;               // of the tower's tensors: "vit.", "deit." or ""
  std::vector<std::string> labels;  // by class; empty where the folder names none
  std::vector<std::string> heads;   // prefixes of the classification heads, in token order; empty
                                    // for a tower alone
};

/// Reads config.json and preprocessor_config.json and looks at the names and shapes in `files`.
/// - Hugging Face: `model_type` vit or deit, labels from `id2label`; tensors under Hugging Face's
/// or
///   timm's names.
/// - timm: `architecture`, picture size, crop, mean and deviation from `pretrained_cfg`, sizes from
///   the tensors, labels from `label_names`; the number of heads from `model_args.num_heads` or
///   from the size the architecture's name says (tiny, small, base, large: 64 channels a head).
/// Pictures of another side than the model's own come by `image_size` (0: its own): positions are
/// resampled, preprocessing scales along.
/// Errors: not_found, bad_model, unsupported (other architectures, pooling by averages, ...), usage
/// (image_size), each naming file and field.
Result<ClassifierConfig> read_classifier_config(const std::string& folder, const WeightFiles& files,
                                                std::int64_t image_size = 0);

}  // namespace fovea
