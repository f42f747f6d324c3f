#include "vision/vit_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/base/parallel.h"
#include "kernels/copy.h"
#include "vision/vit_names.h"
#include "vision/vit_positions.h"

namespace fovea {

namespace {

Status check_config(const VitConfig& config, int run_layers) {
  const bool positive = config.hidden_size > 0 && config.intermediate_size > 0 &&
                        config.layers >= 0 && config.heads > 0 && config.channels > 0 &&
                        config.patch_size > 0 && config.image_size >= config.patch_size &&
                        config.position_grid >= 0;
  const bool whole = positive && config.hidden_size % config.heads == 0 &&
                     config.image_size % config.patch_size == 0;
  if (!whole) return make_error(ErrorCode::usage, "the vision tower's sizes do not fit together");
  if (run_layers < 0 || run_layers > config.layers) {
    return make_error(ErrorCode::usage, "cannot run " + std::to_string(run_layers) +
                                            " blocks of a vision tower that has " +
                                            std::to_string(config.layers));
  }
  return {};
}

Status check_cancelled(const Context& context) {
  if (!context.cancelled()) return {};
  return make_error(ErrorCode::cancelled, "stopped while loading the vision tower");
}

/// Query, key and value of a block as one product, wherever they lie.
Result<Linear> load_qkv(Context& context, const VitConfig& config, const VitNames& names,
                        const WeightReader& weights, LinearDType dtype) {
  const std::int64_t hidden = config.hidden_size;
  if (names.qkv[1] == nullptr) {
    const WeightReader reader = weights.below(names.qkv[0]);
    FOVEA_TRY(const ConstTensorView weight, reader.get("weight", {3 * hidden, hidden}));
    ConstTensorView bias;
    if (config.qkv_bias) {
      FOVEA_TRY(bias, reader.get("bias", {3 * hidden}));
    }
    return Linear::create(context, weight, bias, dtype);
  }
  std::array<ConstTensorView, 3> matrices, biases;
  for (std::size_t part = 0; part < names.qkv.size(); ++part) {
    const WeightReader reader = weights.below(names.qkv[part]);
    FOVEA_TRY(matrices[part], reader.get("weight", {hidden, hidden}));
    if (config.qkv_bias) {
      FOVEA_TRY(biases[part], reader.get("bias", {hidden}));
    }
  }
  const std::span<const ConstTensorView> given(biases);
  return Linear::create(context, matrices, given.first(config.qkv_bias ? 3 : 0), dtype);
}

Result<VitBlockWeights> load_block(Context& context, const VitConfig& config, const VitNames& names,
                                   const WeightReader& weights, LinearDType dtype) {
  const std::int64_t hidden = config.hidden_size, intermediate = config.intermediate_size;
  VitBlockWeights block;
  FOVEA_TRY(block.norm1, load_norm(context, weights.below(names.norm1), hidden));
  FOVEA_TRY(block.norm2, load_norm(context, weights.below(names.norm2), hidden));
  FOVEA_TRY(block.qkv, load_qkv(context, config, names, weights, dtype));
  FOVEA_TRY(block.out, load_linear(context, weights.below(names.out), hidden, hidden, dtype));
  FOVEA_TRY(block.fc1, load_linear(context, weights.below(names.fc1), intermediate, hidden, dtype));
  FOVEA_TRY(block.fc2, load_linear(context, weights.below(names.fc2), hidden, intermediate, dtype));
  return block;
}

Result<Linear> load_patch_embedding(Context& context, const VitConfig& config,
                                    const WeightReader& weights, LinearDType dtype) {
  const std::int64_t hidden = config.hidden_size, patch = config.patch_size;
  FOVEA_TRY(const ConstTensorView kernel,
            weights.get("weight", {hidden, config.channels, patch, patch}));
  const ConstTensorView matrix(kernel.data, kernel.dtype,
                               {hidden, config.channels * patch * patch});
  ConstTensorView bias;
  if (config.patch_bias) {
    FOVEA_TRY(bias, weights.get("bias", {hidden}));
  }
  return Linear::create(context, matrix, bias, dtype);
}

/// The position table at the size that runs, with the special tokens' embeddings added.
Result<Tensor> load_positions(const VitConfig& config, const VitNames& names,
                              const WeightReader& weights) {
  const std::int64_t hidden = config.hidden_size, side = config.stored_grid();
  const std::int64_t rows = config.prefix_tokens() + side * side;
  const Shape table_shape = names.batch_axis ? Shape{1, rows, hidden} : Shape{rows, hidden};
  FOVEA_TRY(const Tensor stored, weights.get_f32(names.positions, table_shape));
  const ConstTensorView table(stored.view().data, DType::f32, {rows, hidden});
  FOVEA_TRY(Tensor positions,
            resample_positions(table, config.prefix_tokens(), side, config.grid()));
  const std::array<const char*, 2> tokens{names.class_token, names.distillation_token};
  for (std::int64_t row = 0; row < config.prefix_tokens(); ++row) {
    const char* name = tokens[static_cast<std::size_t>(row)];
    if (name == nullptr) {
      return make_error(ErrorCode::unsupported, std::string("a tower in the layout of ") +
                                                    names.layout + " has no distillation token");
    }
    FOVEA_TRY(const Tensor embedding,
              weights.get_f32(name, names.batch_axis ? Shape{1, 1, hidden} : Shape{hidden}));
    auto* to = positions.as<float>() + row * hidden;
    for (std::int64_t i = 0; i < hidden; ++i) to[i] += embedding.as<float>()[i];
  }
  return positions;
}

// ---- Random weights
// ------------------------------------------------------------------------------

/// Uniform numbers with the given standard deviation; element i depends on seed and i alone, so
/// that threads do not change it.
Result<Tensor> random_tensor(const Context& context, Shape shape, float deviation,
                             std::uint64_t seed) {
  FOVEA_TRY(Tensor tensor, Tensor::allocate(shape, DType::f32));
  auto* values = tensor.as<float>();
  const float range = deviation * std::sqrt(12.0F);
  parallel_for(context.threads, shape.elements(), 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t index = begin; index < end; ++index) {
      // SplitMix64's output function over a counter.
      std::uint64_t bits =
          seed * 0xD1342543DE82EF95u + static_cast<std::uint64_t>(index + 1) * 0x9E3779B97F4A7C15u;
      bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
      bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
      bits ^= bits >> 31;
      values[index] = (static_cast<float>(bits >> 40) * 0x1p-24F - 0.5F) * range;
    }
  });
  return tensor;
}

Result<Linear> random_linear(Context& context, std::int64_t outputs, std::int64_t inputs,
                             bool with_bias, LinearDType dtype, std::uint64_t seed) {
  const float deviation = 1.0F / std::sqrt(static_cast<float>(inputs));
  FOVEA_TRY(const Tensor weight, random_tensor(context, {outputs, inputs}, deviation, seed));
  if (!with_bias) return Linear::create(context, weight.view(), {}, dtype);
  FOVEA_TRY(const Tensor bias, random_tensor(context, {outputs}, 0.02F, seed + 1));
  return Linear::create(context, weight.view(), bias.view(), dtype);
}

Result<NormWeights> move_norm(Context& context, NormWeights norm) {
  NormWeights moved;
  FOVEA_TRY(moved.weight, move_to_device(context, std::move(norm.weight)));
  FOVEA_TRY(moved.bias, move_to_device(context, std::move(norm.bias)));
  return moved;
}

Result<NormWeights> plain_norm(Context& context, std::int64_t width) {
  NormWeights norm;
  FOVEA_TRY(norm.weight, Tensor::allocate({width}, DType::f32));
  FOVEA_TRY(norm.bias, Tensor::allocate({width}, DType::f32));
  std::fill_n(norm.weight.as<float>(), width, 1.0F);
  std::fill_n(norm.bias.as<float>(), width, 0.0F);
  return move_norm(context, std::move(norm));
}

}  // namespace

std::size_t VitWeights::bytes() const {
  const auto norm_bytes = [](const NormWeights& norm) {
    return norm.weight.bytes() + norm.bias.bytes();
  };
  std::size_t total = patch_embedding.weight_bytes() + positions.bytes() + norm_bytes(pre_norm);
  for (const VitBlockWeights& block : blocks) {
    total += norm_bytes(block.norm1) + norm_bytes(block.norm2);
    for (const Linear* linear : {&block.qkv, &block.out, &block.fc1, &block.fc2}) {
      total += linear->weight_bytes();
    }
  }
  return total;
}

Result<NormWeights> load_norm(Context& context, const WeightReader& weights, std::int64_t width) {
  NormWeights norm;
  FOVEA_TRY(norm.weight, weights.get_f32("weight", {width}));
  FOVEA_TRY(norm.bias, weights.get_f32("bias", {width}));
  return move_norm(context, std::move(norm));
}

Result<Linear> load_linear(Context& context, const WeightReader& weights, std::int64_t outputs,
                           std::int64_t inputs, LinearDType dtype) {
  FOVEA_TRY(const ConstTensorView weight, weights.get("weight", {outputs, inputs}));
  FOVEA_TRY(const ConstTensorView bias, weights.get("bias", {outputs}));
  return Linear::create(context, weight, bias, dtype);
}

Result<VitWeights> load_vit_weights(Context& context, const VitConfig& config,
                                    const WeightReader& weights, LinearDType dtype,
                                    int run_layers) {
  FOVEA_CHECK(check_config(config, run_layers));
  const VitNames& names = find_vit_names(weights);
  if (config.pre_norm && names.pre_norm == nullptr) {
    return make_error(ErrorCode::unsupported, std::string("a tower in the layout of ") +
                                                  names.layout +
                                                  " has no norm before its first block");
  }
  VitWeights loaded;
  FOVEA_TRY(loaded.patch_embedding,
            load_patch_embedding(context, config, weights.below(names.patch), dtype));
  loaded.activations = activation_dtype(context, dtype);
  FOVEA_TRY(Tensor positions, load_positions(config, names, weights));
  FOVEA_TRY(loaded.positions, move_to_device(context, std::move(positions)));
  if (config.pre_norm) {
    FOVEA_TRY(loaded.pre_norm,
              load_norm(context, weights.below(names.pre_norm), config.hidden_size));
  }
  for (int layer = 0; layer < run_layers; ++layer) {
    FOVEA_CHECK(check_cancelled(context));
    const WeightReader reader = weights.below(names.blocks + std::to_string(layer) + ".");
    FOVEA_TRY(VitBlockWeights block, load_block(context, config, names, reader, dtype));
    loaded.blocks.push_back(std::move(block));
  }
  return loaded;
}

Result<VitWeights> random_vit_weights(Context& context, const VitConfig& config, LinearDType dtype,
                                      int run_layers, std::uint64_t seed) {
  FOVEA_CHECK(check_config(config, run_layers));
  const std::int64_t hidden = config.hidden_size, intermediate = config.intermediate_size;
  std::uint64_t next = seed * 1'000'003;
  const auto linear = [&](std::int64_t outputs, std::int64_t inputs, bool with_bias) {
    return random_linear(context, outputs, inputs, with_bias, dtype, next += 2);
  };
  VitWeights made;
  FOVEA_TRY(
      made.patch_embedding,
      linear(hidden, config.channels * config.patch_size * config.patch_size, config.patch_bias));
  made.activations = activation_dtype(context, dtype);
  FOVEA_TRY(Tensor positions, random_tensor(context, {config.tokens(), hidden}, 0.1F, next += 2));
  FOVEA_TRY(made.positions, move_to_device(context, std::move(positions)));
  if (config.pre_norm) {
    FOVEA_TRY(made.pre_norm, plain_norm(context, hidden));
  }
  for (int layer = 0; layer < run_layers; ++layer) {
    FOVEA_CHECK(check_cancelled(context));
    VitBlockWeights block;
    FOVEA_TRY(block.norm1, plain_norm(context, hidden));
    FOVEA_TRY(block.norm2, plain_norm(context, hidden));
    FOVEA_TRY(block.qkv, linear(3 * hidden, hidden, config.qkv_bias));
    FOVEA_TRY(block.out, linear(hidden, hidden, true));
    FOVEA_TRY(block.fc1, linear(intermediate, hidden, true));
    FOVEA_TRY(block.fc2, linear(hidden, intermediate, true));
    made.blocks.push_back(std::move(block));
  }
  return made;
}

}  // namespace fovea
