#include "vlm/llava_model.h"

namespace fovea {

Result<Projector> Projector::load(Context& context, const LlavaConfig& config,
                                  const WeightReader& weights, LinearDType dtype) {
  const std::int64_t in = config.vision.hidden_size;
  const std::int64_t out = config.decoder.hidden_size;
  Projector projector;
  projector.activation = config.projector_activation;
  projector.activations = activation_dtype(context, dtype);
  FOVEA_TRY(const auto first, weights.get("linear_1.weight", Shape{out, in}));
  FOVEA_TRY(const auto second, weights.get("linear_2.weight", Shape{out, out}));
  ConstTensorView first_bias, second_bias;
  if (config.projector_bias) {
    FOVEA_TRY(first_bias, weights.get("linear_1.bias", Shape{out}));
    FOVEA_TRY(second_bias, weights.get("linear_2.bias", Shape{out}));
  }
  FOVEA_TRY(projector.first, Linear::create(context, first, first_bias, dtype));
  FOVEA_TRY(projector.second, Linear::create(context, second, second_bias, dtype));
  return projector;
}

Status Projector::forward(Context& context, ConstTensorView features, TensorView out) const {
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView middle,
            context.workspace.take(Shape{features.rows(), first.outputs()}, activations));
  FOVEA_CHECK(first.apply(context, features, middle, {.activation = activation}));
  return second.apply(context, middle, out);
}

}  // namespace fovea
