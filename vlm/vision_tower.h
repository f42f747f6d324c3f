#pragma once
// A vision tower by itself, whichever model it belongs to: a classifier's, or that of a
// vision-language model whose decoder is left on the disk.

#include <memory>
#include <string>

#include "vision/classifier.h"
#include "vision/preprocess.h"
#include "vision/vit.h"
#include "vlm/llava_model.h"

namespace fovea {

class VisionTower {
 public:
  /// The folder of a ViT or DeiT (with or without a head), or of a LLaVA model, of whose tower the
  /// blocks that feed the projector are read. Weights are kept in f32 unless bf16 is asked for.
  /// Errors: those of VitClassifier::load and of reading a LLaVA model.
  static Result<VisionTower> load(const std::string& folder, const LoadOptions& options);

  const VitEncoder& encoder() const { return classifier_ ? classifier_->encoder() : *encoder_; }
  const PreprocessConfig& preprocess() const { return preprocess_; }
  const std::string& model_id() const { return model_id_; }
  /// "classifier" or "llava".
  const char* kind() const { return classifier_ ? "classifier" : "llava"; }
  LinearDType dtype() const { return dtype_; }
  Device device() const { return device_; }
  /// SHA-256 over the weight files of the whole model; empty where they are too large to hash in
  /// passing.
  std::string sha256() const;

 private:
  std::shared_ptr<const VitClassifier> classifier_;
  std::unique_ptr<WeightFiles> files_;  // of a LLaVA model
  std::unique_ptr<VitEncoder> encoder_;
  PreprocessConfig preprocess_;
  std::string model_id_;
  LinearDType dtype_ = LinearDType::f32;
  Device device_;
};

}  // namespace fovea
