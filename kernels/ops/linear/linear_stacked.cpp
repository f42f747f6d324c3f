#include "kernels/ops/linear/linear.h"
#include "kernels/ops/linear/linear_checks.h"

namespace fovea {

namespace {

/// Copies parts one below the other as float32 or, when all agree, in their stored type.
Result<Tensor> stack(std::span<const ConstTensorView> parts, bool vectors) {
  DType dtype = parts[0].dtype;
  std::int64_t rows = 0;
  for (const ConstTensorView& part : parts) {
    if (part.shape.rank() != (vectors ? 1 : 2) ||
        (!vectors && part.shape[1] != parts[0].shape[1])) {
      return make_error(ErrorCode::usage, "stacked weights must agree in their inputs, found " +
                                              part.shape.to_string() + " beside " +
                                              parts[0].shape.to_string());
    }
    if (part.dtype != dtype) dtype = DType::f32;
    rows += part.shape[0];
  }
  const Shape shape = vectors ? Shape{rows} : Shape{rows, parts[0].shape[1]};
  FOVEA_TRY(Tensor all, Tensor::allocate(shape, dtype));
  std::int64_t row = 0;
  for (const ConstTensorView& part : parts) {
    FOVEA_CHECK(convert(part, all.view().slice(row, part.shape[0])));
    row += part.shape[0];
  }
  return all;
}

/// Parts that a GPU stacks for itself.
Status check_parts(const Context& context, std::span<const ConstTensorView> weights,
                   std::span<const ConstTensorView> biases) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    FOVEA_CHECK(
        check_linear_weight(context, weights[i], biases.empty() ? ConstTensorView{} : biases[i]));
    if (weights[i].shape[1] != weights[0].shape[1]) {
      return make_error(ErrorCode::usage, "stacked weights must agree in their inputs, found " +
                                              weights[i].shape.to_string() + " beside " +
                                              weights[0].shape.to_string());
    }
  }
  return {};
}

}  // namespace

Result<Linear> Linear::create(Context& context, std::span<const ConstTensorView> weights,
                              std::span<const ConstTensorView> biases, LinearDType dtype) {
  if (weights.empty() || (!biases.empty() && biases.size() != weights.size())) {
    return make_error(ErrorCode::usage, "stacked weights need one bias per part or none");
  }
  if (context.on_cuda()) {
    FOVEA_CHECK(check_parts(context, weights, biases));
    return create_on_cuda(context, weights, biases, dtype);
  }
  FOVEA_TRY(const Tensor weight, stack(weights, false));
  if (biases.empty()) return create(context, weight.view(), {}, dtype);
  FOVEA_TRY(const Tensor bias, stack(biases, true));
  return create(context, weight.view(), bias.view(), dtype);
}

}  // namespace fovea
