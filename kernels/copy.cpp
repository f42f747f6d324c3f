#include "kernels/copy.h"

#include <cstring>
#include <string>
#include <utility>

#ifdef FOVEA_WITH_CUDA
#include "kernels/cuda/copy_cuda.h"
#endif

namespace fovea {
namespace {

bool on_host(ConstTensorView view) {
  return view.device.kind == DeviceKind::cpu;
}

/// Equal shapes, on the CPU or on the context's device.
Status check_places(const Context& context, ConstTensorView from, ConstTensorView to) {
  if (from.shape != to.shape) {
    return make_error(ErrorCode::internal, "cannot copy shape " + from.shape.to_string() +
                                               " into shape " + to.shape.to_string());
  }
  for (const ConstTensorView& view : {from, to}) {
    if (!on_host(view) && view.device != context.device) {
      return make_error(ErrorCode::internal, "a block lies on another device than the context's");
    }
  }
  return {};
}

void copy_on_host(ConstTensorView from, TensorView to) {
  const std::size_t element = dtype_size(from.dtype);
  const auto row_bytes = static_cast<std::size_t>(from.inner_elements()) * element;
  for (std::int64_t row = 0; row < from.rows(); ++row) {
    const auto offset = [&](std::int64_t stride) {
      return static_cast<std::size_t>(row * stride) * element;
    };
    std::memcpy(to.data + offset(to.row_stride), from.data + offset(from.row_stride), row_bytes);
  }
}

}  // namespace

Status copy(Context& context, ConstTensorView from, TensorView to) {
  FOVEA_CHECK(check_places(context, from, to));
  if (from.dtype != to.dtype) {
    return make_error(ErrorCode::internal, std::string("cannot copy ") + dtype_name(from.dtype) +
                                               " into " + dtype_name(to.dtype));
  }
  if (from.shape.elements() == 0) return {};
  if (on_host(from) && on_host(to)) {
    copy_on_host(from, to);
    return {};
  }
#ifdef FOVEA_WITH_CUDA
  return copy_cuda(context, from, to);
#else
  return make_error(ErrorCode::internal, "a block on a device in a build without one");
#endif
}

Status convert(Context& context, ConstTensorView from, TensorView to) {
  if (from.dtype == to.dtype) return copy(context, from, to);
  if (on_host(from) && on_host(to)) return convert(from, to);
  FOVEA_CHECK(check_places(context, from, to));
#ifdef FOVEA_WITH_CUDA
  return convert_cuda(context, from, to);
#else
  return make_error(ErrorCode::internal, "a block on a device in a build without one");
#endif
}

Result<ConstTensorView> to_host(Context& context, ConstTensorView block) {
  if (on_host(block) || block.empty()) return block;
  FOVEA_TRY(const TensorView here, context.host().workspace.take(block.shape, DType::f32));
  FOVEA_CHECK(convert(context, block, here));
  return ConstTensorView(here);
}

Result<ConstTensorView> to_device(Context& context, ConstTensorView block) {
  if (!context.on_cuda() || !on_host(block) || block.empty()) return block;
  FOVEA_TRY(const TensorView there, context.workspace.take(block.shape, block.dtype));
  FOVEA_CHECK(copy(context, block, there));
  return ConstTensorView(there);
}

Result<Tensor> move_to_device(Context& context, Tensor block) {
  if (!context.on_cuda() || block.empty()) return block;
  FOVEA_TRY(Tensor there, Tensor::allocate(block.shape(), block.dtype(), context.device));
  FOVEA_CHECK(copy(context, std::as_const(block).view(), there.view()));
  return there;
}

Status synchronize(Context& context) {
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return synchronize_cuda(context);
#endif
  (void)context;
  return {};
}

}  // namespace fovea
