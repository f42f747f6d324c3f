#pragma once
// The weights of a CLIP tower as the encoder uses them.

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
  Linear patch_embedding;  // channels * patch * patch inputs, no bias
  Tensor positions;        // [tokens, hidden] f32; the class embedding is added to row 0
  NormWeights pre_norm;
  std::vector<VitBlockWeights> blocks;  // those that run

  std::size_t bytes() const;
};

/// As VitEncoder::load. Errors: usage (a configuration that contradicts itself, run_layers outside
/// 0 .. layers), bad_model, out_of_memory, cancelled.
Result<VitWeights> load_vit_weights(Context& context, const VitConfig& config,
                                    const WeightReader& weights, LinearDType dtype, int run_layers);

/// As VitEncoder::random.
Result<VitWeights> random_vit_weights(Context& context, const VitConfig& config, LinearDType dtype,
                                      int run_layers, std::uint64_t seed);

}  // namespace fovea
