#pragma once
// The weights of a Vision Transformer as the encoder uses them.

#include <cstdint>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/weights/weight_reader.h"
#include "vision/vit_config.h"

namespace fovea {

struct NormWeights {
  Tensor weight, bias;  // [hidden] f32
};

struct VitBlockWeights {
  NormWeights norm1, norm2;
  Linear qkv;  // query, key and value, one after another: 3 * hidden outputs
  Linear out, fc1, fc2;
};

struct VitWeights {
  Linear patch_embedding;  // channels * patch * patch inputs
  /// [tokens, hidden] f32, for the grid that runs; class and distillation embeddings are added to
  /// their rows.
  Tensor positions;
  NormWeights pre_norm;                 // empty without one
  std::vector<VitBlockWeights> blocks;  // those that run
  DType activations = DType::f32;       // of what flows between the products

  std::size_t bytes() const;
};

/// weight and bias of this width below the reader's prefix, as f32. Errors: bad_model.
Result<NormWeights> load_norm(Context& context, const WeightReader& weights, std::int64_t width);
/// weight [outputs, inputs] and bias. Errors: bad_model, out_of_memory.
Result<Linear> load_linear(Context& context, const WeightReader& weights, std::int64_t outputs,
                           std::int64_t inputs, LinearDType dtype);

/// As VitEncoder::load. Errors: usage (a configuration that contradicts itself, run_layers outside
/// 0 .. layers), bad_model, out_of_memory, cancelled.
Result<VitWeights> load_vit_weights(Context& context, const VitConfig& config,
                                    const WeightReader& weights, LinearDType dtype, int run_layers);

/// As VitEncoder::random.
Result<VitWeights> random_vit_weights(Context& context, const VitConfig& config, LinearDType dtype,
                                      int run_layers, std::uint64_t seed);

}  // namespace fovea
