#include "vlm/model_shapes.h"

namespace fovea {

ModelShape model_shape(const DecoderConfig& config) {
  ModelShape shape;
  shape.layers = static_cast<int>(config.layers);
  shape.heads = static_cast<int>(config.heads);
  shape.kv_heads = static_cast<int>(config.kv_heads);
  shape.hidden_size = config.hidden_size;
  shape.head_dim = config.head_dim;
  shape.rope_theta = config.rope_theta;
  return shape;
}

BudgetShape budget_shape(const LlavaModel& model) {
  const DecoderConfig& config = model.config().decoder;
  BudgetShape shape;
  shape.layers = static_cast<int>(config.layers);
  shape.hidden = config.hidden_size;
  shape.intermediate = config.intermediate_size;
  shape.heads = config.heads;
  shape.kv_heads = config.kv_heads;
  shape.head_dim = config.head_dim;
  shape.kv_element_bytes = model.dtype() == LinearDType::bf16 ? 2 : 4;
  return shape;
}

}  // namespace fovea
