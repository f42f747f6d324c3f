#pragma once
// A LLaVA-style model: configuration, tokenizer and the three networks, loaded once and shared
// read-only by any number of sessions.

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/ops/linear/linear.h"
#include "kernels/weights/safetensors.h"
#include "vision/vit.h"
#include "vlm/decoder.h"
#include "vlm/llava_config.h"
#include "vlm/tokenizer.h"

namespace fovea {

enum class DTypeChoice { automatic, f32, bf16, f16 };

struct LoadOptions {
  int threads = 1;
  Device device;
  /// f16 on GPUs only. automatic: bf16 when the float32 weights would take more than 2 GB, else
  /// f32.
  DTypeChoice dtype = DTypeChoice::automatic;
};

/// Two linear layers with an activation between them, [tokens, vision width] to [tokens, width].
struct Projector {
  Linear first, second;
  Activation activation = Activation::gelu_erf;
  DType activations = DType::f32;  // of what flows between the two

  static Result<Projector> load(Context& context, const LlavaConfig& config,
                                const WeightReader& weights, LinearDType dtype);
  Status forward(Context& context, ConstTensorView features, TensorView out) const;
};

class LlavaModel {
 public:
  /// Errors: not_found, bad_model, unsupported, out_of_memory.
  static Result<std::shared_ptr<const LlavaModel>> load(const std::string& folder,
                                                        const LoadOptions& options);
  /// Random weights of a known shape, without tokenizer, for benchmarks.
  static Result<std::shared_ptr<const LlavaModel>> random(const LlavaConfig& config,
                                                          const LoadOptions& options,
                                                          std::uint64_t seed);

  const LlavaConfig& config() const { return config_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }  // absent in random models
  bool has_vision() const { return vision_ != nullptr; }
  const VitEncoder& vision() const { return *vision_; }
  const Projector& projector() const { return projector_; }
  const Decoder& decoder() const { return *decoder_; }
  LinearDType dtype() const { return dtype_; }
  Device device() const { return device_; }
  const std::string& folder() const { return folder_; }
  double load_ms() const { return load_ms_; }
  /// Tensors of the checkpoint that nobody needed, and other things worth saying once.
  const std::vector<std::string>& notes() const { return notes_; }
  /// SHA-256 over the weight files, computed at the first call; empty for more than 2 GiB of
  /// weights, where it would take longer than an answer, and for random models.
  std::string sha256() const;

 private:
  LlavaConfig config_;
  std::string folder_;
  std::unique_ptr<WeightFiles> files_;  // stays mapped: weights may be used where they lie
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<VitEncoder> vision_;
  Projector projector_;
  std::unique_ptr<Decoder> decoder_;
  LinearDType dtype_ = LinearDType::f32;
  Device device_;
  double load_ms_ = 0;
  std::vector<std::string> notes_;
  mutable std::once_flag hash_once_;
  mutable std::string hash_;
};

}  // namespace fovea
