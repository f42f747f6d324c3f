#include "vlm/random_weights.h"

#include <algorithm>
#include <cmath>

#include "kernels/ops/random/random.h"

namespace fovea {

Result<Tensor> random_matrix(Context& context, std::int64_t outputs, std::int64_t inputs,
                             std::uint64_t seed) {
  // Variance 1 / inputs keeps the scale of activations through a product.
  const float scale = std::sqrt(3.0f / static_cast<float>(inputs));
  FOVEA_TRY(Tensor weight, Tensor::allocate(Shape{outputs, inputs}, DType::bf16, context.device));
  if (context.on_cuda()) {
    FOVEA_CHECK(fill_uniform(context, weight.view(), scale, seed));
    return weight;
  }
  bf16* values = weight.as<bf16>();
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ull + 0x2545F4914F6CDD1Dull;
  const std::int64_t count = outputs * inputs;
  for (std::int64_t i = 0; i < count; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const float unit = static_cast<float>(state >> 40) * (2.0f / 16777216.0f) - 1.0f;
    values[i] = to_bf16(unit * scale);
  }
  return weight;
}

Result<Tensor> ones(std::int64_t width) {
  FOVEA_TRY(Tensor weight, Tensor::allocate(Shape{width}, DType::f32));
  std::fill_n(weight.as<float>(), width, 1.0f);
  return weight;
}

}  // namespace fovea
