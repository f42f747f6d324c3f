#include "kernels/ops/linear/linear.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/ops/common/checks.h"
#include "kernels/ops/linear/linear_checks.h"
#include "kernels/ops/linear/packed_weight.h"
#ifdef FOVEA_ONEDNN
#include "kernels/ops/linear/onednn_product.h"
#endif
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/linear/linear_cuda.h"
#endif

namespace fovea {

struct Linear::Impl {
  PackedWeight weight;
  Tensor bias;  // [outputs] f32, or empty
#ifdef FOVEA_ONEDNN
  std::unique_ptr<OnednnProduct> onednn;  // null where our own product does everything
#endif
#ifdef FOVEA_WITH_CUDA
  std::unique_ptr<CudaLinear> cuda;  // the weight on a GPU, in place of all of the above
#endif
};

namespace {

#ifdef FOVEA_ONEDNN
// With fewer rows a product waits for the weight to arrive from memory, and oneDNN has nothing to
// gain.
constexpr std::int64_t kOnednnRows = 32;
#endif

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

Arithmetic choose_arithmetic(LinearDType dtype) {
  if (dtype == LinearDType::f32) return Arithmetic::f32;
  return packed_layout().has_bf16_dot ? Arithmetic::bf16_dot : Arithmetic::bf16;
}

/// A float32 copy of a bias that may lie at any address.
Result<Tensor> copy_bias(ConstTensorView bias) {
  FOVEA_TRY(Tensor stored, Tensor::allocate(bias.shape, bias.dtype));
  std::memcpy(stored.view().data, bias.data, stored.bytes());
  if (bias.dtype == DType::f32) return stored;
  FOVEA_TRY(Tensor widened, Tensor::allocate(bias.shape, DType::f32));
  FOVEA_CHECK(convert(stored.view(), widened.view()));
  return widened;
}

}  // namespace

Status check_linear_weight(const Context& context, ConstTensorView weight, ConstTensorView bias) {
  if (weight.shape.rank() != 2 || weight.shape[0] < 1 || weight.shape[1] < 1) {
    return make_error(ErrorCode::usage, "a weight is [outputs, inputs], both at least 1; found " +
                                            weight.shape.to_string());
  }
  const auto reachable = [&](ConstTensorView view) {
    return view.device.kind == DeviceKind::cpu || view.device == context.device;
  };
  if (weight.empty() || !weight.contiguous() || !reachable(weight)) {
    return make_error(ErrorCode::usage,
                      "a weight lies in one piece in the CPU's memory or on the context's device");
  }
  if (!is_float(weight.dtype)) {
    return make_error(ErrorCode::unsupported, std::string("a weight is f32, f16 or bf16; found ") +
                                                  dtype_name(weight.dtype));
  }
  if (bias.empty()) return {};
  if (bias.shape != Shape{weight.shape[0]} || !bias.contiguous() || !reachable(bias)) {
    return make_error(ErrorCode::usage, "a bias for weight " + weight.shape.to_string() +
                                            " has one number per output; found " +
                                            bias.shape.to_string());
  }
  if (!is_float(bias.dtype)) {
    return make_error(ErrorCode::unsupported,
                      std::string("a bias is f32, f16 or bf16; found ") + dtype_name(bias.dtype));
  }
  return {};
}

#ifdef FOVEA_WITH_CUDA
Result<Linear> Linear::create_on_cuda(Context& context, std::span<const ConstTensorView> weights,
                                      std::span<const ConstTensorView> biases, LinearDType dtype) {
  Linear linear;
  linear.impl_ = std::make_unique<Impl>();
  FOVEA_TRY(linear.impl_->cuda, CudaLinear::create(context, weights, biases, dtype));
  return linear;
}
#else
Result<Linear> Linear::create_on_cuda(Context& context, std::span<const ConstTensorView>,
                                      std::span<const ConstTensorView>, LinearDType) {
  FOVEA_CHECK(check_cpu(context));
  return make_error(ErrorCode::internal, "a context on a GPU in a build without CUDA");
}
#endif

Linear::Linear() = default;
Linear::Linear(Linear&&) noexcept = default;
Linear& Linear::operator=(Linear&&) noexcept = default;
Linear::~Linear() = default;

const char* linear_dtype_name(LinearDType dtype) {
  switch (dtype) {
    case LinearDType::f32:
      return "f32";
    case LinearDType::bf16:
      return "bf16";
    case LinearDType::f16:
      return "f16";
  }
  return "unknown";
}

DType activation_dtype(const Context& context, LinearDType dtype) {
  if (!context.on_cuda() || dtype == LinearDType::f32) return DType::f32;
  return dtype == LinearDType::bf16 ? DType::bf16 : DType::f16;
}

Result<Linear> Linear::create(Context& context, ConstTensorView weight, ConstTensorView bias,
                              LinearDType dtype) {
  FOVEA_CHECK(check_linear_weight(context, weight, bias));
  if (context.on_cuda()) {
    return create_on_cuda(context, {&weight, 1}, {&bias, bias.empty() ? 0u : 1u}, dtype);
  }
  if (dtype == LinearDType::f16) {
    return make_error(ErrorCode::unsupported, "the CPU multiplies in f32 and bf16, not in f16")
        .with_remedy("Use --dtype f32 or bf16");
  }
  auto impl = std::make_unique<Impl>();
  FOVEA_TRY(impl->weight, pack_weight(context, weight, choose_arithmetic(dtype)));
  if (!bias.empty()) {
    FOVEA_TRY(impl->bias, copy_bias(bias));
  }
#ifdef FOVEA_ONEDNN
  impl->onednn =
      OnednnProduct::create(impl->weight, impl->bias.empty() ? nullptr : impl->bias.as<float>());
#endif
  Linear linear;
  linear.impl_ = std::move(impl);
  return linear;
}

Status Linear::apply(Context& context, ConstTensorView x, TensorView y,
                     const Epilogue& epilogue) const {
  if (!impl_) return make_error(ErrorCode::internal, "a Linear without weight was applied");
#ifdef FOVEA_WITH_CUDA
  if (impl_->cuda) {
    FOVEA_CHECK(check_activation_shape(context, "linear x", x, {x.rows(), inputs()}));
    FOVEA_CHECK(check_activation_shape(context, "linear y", y, {x.rows(), outputs()}));
    if (epilogue.accumulate && epilogue.activation != Activation::none) {
      return make_error(ErrorCode::usage, "an accumulating product takes no activation");
    }
    return x.rows() == 0 ? Status{} : impl_->cuda->apply(context, x, y, epilogue);
  }
#endif
  FOVEA_CHECK(check_cpu(context));
  FOVEA_CHECK(check_f32_rank("linear x", x, 2));
  FOVEA_CHECK(check_f32_shape("linear x", x, {x.rows(), inputs()}));
  FOVEA_CHECK(check_f32_shape("linear y", y, {x.rows(), outputs()}));
  if (epilogue.accumulate && epilogue.activation != Activation::none) {
    return make_error(ErrorCode::usage, "an accumulating product takes no activation");
  }
  if (x.rows() == 0) return {};
  const float* bias = impl_->bias.empty() ? nullptr : impl_->bias.as<float>();
  if (impl_->weight.arithmetic != Arithmetic::bf16_dot) {
    return packed_product(context, impl_->weight, x, bias, y, epilogue);
  }
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView rounded, round_to_bf16(context, x));
#ifdef FOVEA_ONEDNN
  if (impl_->onednn && x.rows() >= kOnednnRows) {
    FOVEA_TRY(const bool done, impl_->onednn->apply(context.threads, rounded, y, epilogue));
    if (done) return {};
  }
#endif
  return packed_product(context, impl_->weight, rounded, bias, y, epilogue);
}

std::int64_t Linear::inputs() const {
#ifdef FOVEA_WITH_CUDA
  if (impl_ && impl_->cuda) return impl_->cuda->inputs();
#endif
  return impl_ ? impl_->weight.inputs : 0;
}
std::int64_t Linear::outputs() const {
#ifdef FOVEA_WITH_CUDA
  if (impl_ && impl_->cuda) return impl_->cuda->outputs();
#endif
  return impl_ ? impl_->weight.outputs : 0;
}
std::size_t Linear::weight_bytes() const {
#ifdef FOVEA_WITH_CUDA
  if (impl_ && impl_->cuda) return impl_->cuda->weight_bytes();
#endif
  return impl_ ? impl_->weight.data.bytes() : 0;
}
std::string Linear::backend() const {
  if (!impl_) return "none";
#ifdef FOVEA_WITH_CUDA
  if (impl_->cuda) return std::string("cublaslt-") + dtype_name(impl_->cuda->dtype());
#endif
  switch (impl_->weight.arithmetic) {
    case Arithmetic::f32:
      return "fovea-f32";
    case Arithmetic::bf16:
      return "fovea-bf16";
    case Arithmetic::bf16_dot:
#ifdef FOVEA_ONEDNN
      if (impl_->onednn) return "onednn-bf16";
#endif
      return "fovea-bf16-dot";
  }
  return "none";
}

}  // namespace fovea
