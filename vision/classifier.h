#pragma once
// A Vision Transformer with its classification head: pictures in, class probabilities out.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/context.h"
#include "kernels/weights/safetensors.h"
#include "vision/classifier_config.h"
#include "vision/vit.h"

namespace fovea {

struct ClassifierOptions {
  LinearDType dtype = LinearDType::f32;
  int threads = 1;              // for packing the weights
  std::int64_t image_size = 0;  // side of the pictures; 0: the model's own
  Device device = {};
};

/// One class of one picture.
struct ClassScore {
  std::int64_t index = 0;
  double probability = 0;
};

class VitClassifier {
 public:
  /// Reads a folder as read_classifier_config() describes, with model.safetensors or its shards. A
  /// folder without a head is a tower alone: encoder() works, logits() does not. Errors: those of
  /// read_classifier_config, WeightFiles and VitEncoder::load; unsupported for tensors inside the
  /// blocks that a plain ViT does not have (LayerScale, relative positions, ...).
  static Result<std::shared_ptr<const VitClassifier>> load(const std::string& folder,
                                                           const ClassifierOptions& options);
  ~VitClassifier();

  const ClassifierConfig& config() const;
  const VitEncoder& encoder() const;
  const WeightFiles& weights() const;
  const std::string& folder() const;
  LinearDType dtype() const;
  Device device() const;
  const std::vector<std::string>& notes() const;  // tensors that nobody needed
  /// 0 for a tower alone.
  std::int64_t classes() const;
  /// The label of a class; "LABEL_7" where the model names none, as transformers does.
  std::string label(std::int64_t index) const;
  /// SHA-256 over the weight files.
  std::string sha256() const;

  /// pixels: [pictures, channels, side, side]; out: f32 [pictures, classes], in the host's memory;
  /// the context computes where the model lies. The class token after the final norm decides; with
  /// two heads (DeiT with distillation) the mean of both. Answers what VitEncoder::forward_batch
  /// answers, and fails as it does; unsupported without a head.
  Result<VitRows> logits(Context& context, ConstTensorView pixels, TensorView out,
                         const VitHooks& hooks = {}) const;

  VitClassifier(const VitClassifier&) = delete;
  VitClassifier& operator=(const VitClassifier&) = delete;

 private:
  struct Impl;
  explicit VitClassifier(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The `top` most probable classes, the most probable first, the lower index first among equals:
/// softmax in double over all logits.
std::vector<ClassScore> top_classes(std::span<const float> logits, std::int64_t top);

}  // namespace fovea
