#include "kernels/ops/linear/linear_cuda.h"

#include "kernels/copy.h"
#include "kernels/cuda/upload.h"
#include "kernels/ops/activation/activation.h"
#include "kernels/ops/linear/cublaslt.h"

namespace fovea {
namespace {

DType stored_type(LinearDType dtype) {
  switch (dtype) {
    case LinearDType::f32:
      return DType::f32;
    case LinearDType::bf16:
      return DType::bf16;
    case LinearDType::f16:
      return DType::f16;
  }
  return DType::f32;
}

}  // namespace

Result<std::unique_ptr<CudaLinear>> CudaLinear::create(Context& context,
                                                       std::span<const ConstTensorView> weights,
                                                       std::span<const ConstTensorView> biases,
                                                       LinearDType dtype) {
  auto linear = std::make_unique<CudaLinear>();
  const DType type = stored_type(dtype);
  std::int64_t outputs = 0;
  for (const ConstTensorView& part : weights) outputs += part.shape[0];
  FOVEA_TRY(linear->weight_,
            Tensor::allocate({outputs, weights[0].shape[1]}, type, context.device));
  std::int64_t row = 0;
  for (const ConstTensorView& part : weights) {
    FOVEA_CHECK(upload_large(context, part, linear->weight_.view().slice(row, part.shape[0])));
    row += part.shape[0];
  }
  if (biases.empty()) return linear;
  FOVEA_TRY(linear->bias_, Tensor::allocate({outputs}, DType::f32, context.device));
  row = 0;
  for (const ConstTensorView& part : biases) {
    FOVEA_CHECK(upload_large(context, part, linear->bias_.view().slice(row, part.shape[0])));
    row += part.shape[0];
  }
  if (type != DType::f32) {
    FOVEA_TRY(linear->bias_typed_, Tensor::allocate({outputs}, type, context.device));
    FOVEA_CHECK(convert(context, linear->bias_.view(), linear->bias_typed_.view()));
  }
  return linear;
}

Status CudaLinear::multiply(Context& context, ConstTensorView x, TensorView y,
                            bool accumulate) const {
  const auto own_product = x.rows() == 1 ? one_row_product : few_rows_product;
  FOVEA_TRY(const bool done,
            own_product(context, weight_.view(), x, bias_.as<float>(), y, accumulate));
  if (done) return {};
  // Not every combination of types and sizes has a product that adds the bias too, and where rows
  // do not begin at 16 bytes cuBLASLt adds it to what is rounded already. Then it is added here,
  // before the result is rounded.
  const bool rounds_twice =
      y.dtype != DType::f32 && !bias_.empty() &&
      weight_.shape()[1] * static_cast<std::int64_t>(dtype_size(dtype())) % 16 != 0;
  if (!rounds_twice) {
    const ConstTensorView bias =
        y.dtype == DType::f32 || bias_.empty() ? bias_.view() : bias_typed_.view();
    Status added = cublaslt_product(context, weight_.view(), x, bias, y, accumulate);
    if (added || added.error().code != ErrorCode::unsupported || bias.empty()) return added;
  }
  Workspace::Scope scope(context.workspace);
  TensorView sum = y;
  if (y.dtype != DType::f32) {
    FOVEA_TRY(sum, context.workspace.take(y.shape, DType::f32));
    if (accumulate) FOVEA_CHECK(convert(context, y, sum));
  }
  FOVEA_CHECK(cublaslt_product(context, weight_.view(), x, {}, sum, accumulate));
  ConstTensorView row = bias_.view();
  row.shape = {1, outputs()};
  row.row_stride = outputs();
  FOVEA_CHECK(add(context, row, sum));
  return y.dtype == DType::f32 ? Status{} : convert(context, sum, y);
}

Status CudaLinear::apply(Context& context, ConstTensorView x, TensorView y,
                         const Epilogue& epilogue) const {
  if (y.dtype != DType::f32 && y.dtype != dtype()) {
    return make_error(ErrorCode::usage, std::string("a product over ") + dtype_name(dtype()) +
                                            " weights gives f32 or that type, not " +
                                            dtype_name(y.dtype))
        .in_field("linear y");
  }
  Workspace::Scope scope(context.workspace);
  if (x.dtype != dtype()) {
    FOVEA_TRY(const TensorView rounded, context.workspace.take(x.shape, dtype()));
    FOVEA_CHECK(convert(context, x, rounded));
    x = rounded;
  }
  FOVEA_CHECK(multiply(context, x, y, epilogue.accumulate));
  return epilogue.activation == Activation::none ? Status{}
                                                 : activate(context, y, epilogue.activation);
}

}  // namespace fovea
