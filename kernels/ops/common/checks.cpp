#include "kernels/ops/common/checks.h"

#include <algorithm>
#include <string>

#include "kernels/base/checked.h"

namespace fovea {
namespace {

constexpr std::int64_t kElementsPerThread = 16384;

Error usage(const char* name, std::string message) {
  return make_error(ErrorCode::usage, std::move(message)).in_field(name);
}

/// Axes, data and strides; types and places are the callers'.
Status check_layout(const char* name, ConstTensorView view, int rank) {
  if (view.shape.rank() != rank) {
    return usage(
        name, "expected " + std::to_string(rank) + " axes, found shape " + view.shape.to_string());
  }
  const auto elements = checked_product(view.shape.extents());
  if (!elements) return usage(name, "impossible shape " + view.shape.to_string());
  if (*elements == 0) return {};
  if (view.data == nullptr) {
    return usage(name, "no data for shape " + view.shape.to_string());
  }
  if (view.rows() > 1 && view.row_stride < view.inner_elements()) {
    return usage(name, "row stride " + std::to_string(view.row_stride) + " is below the " +
                           std::to_string(view.inner_elements()) + " elements of a row");
  }
  if (rank == 1 && !view.contiguous()) {
    return usage(name,
                 "expected a vector without gaps, found stride " + std::to_string(view.row_stride));
  }
  return {};
}

Status check_f32(const char* name, ConstTensorView view) {
  if (view.dtype == DType::f32) return {};
  return usage(name, std::string("expected f32, found ") + dtype_name(view.dtype));
}

Status check_place(const char* name, ConstTensorView view, Device device) {
  if (view.device == device) return {};
  if (device.kind == DeviceKind::cpu) return usage(name, "expected a block on the CPU");
  return usage(name, "expected a block on GPU " + std::to_string(device.index));
}

Status check_same_shape(const char* name, ConstTensorView view, const Shape& shape) {
  if (view.shape == shape) return {};
  return usage(name, "expected shape " + shape.to_string() + ", found " + view.shape.to_string());
}

bool is_list(const Context& context, ConstTensorView view, DType dtype) {
  return view.dtype == dtype && view.shape.rank() == 1 && view.device == context.device;
}

Error wrong_list(const char* name, ConstTensorView view, DType dtype, const std::string& expected) {
  return usage(name, "expected " + std::string(dtype_name(dtype)) + " " + expected +
                         " where the context computes, found " + dtype_name(view.dtype) + " " +
                         view.shape.to_string());
}

}  // namespace

Status check_f32_rank(const char* name, ConstTensorView view, int rank) {
  FOVEA_CHECK(check_f32(name, view));
  FOVEA_CHECK(check_place(name, view, {}));
  return check_layout(name, view, rank);
}

Status check_f32_shape(const char* name, ConstTensorView view, const Shape& shape) {
  FOVEA_CHECK(check_f32_rank(name, view, shape.rank()));
  return check_same_shape(name, view, shape);
}

Status check_f32_rank(const Context& context, const char* name, ConstTensorView view, int rank) {
  FOVEA_CHECK(check_f32(name, view));
  FOVEA_CHECK(check_place(name, view, context.device));
  return check_layout(name, view, rank);
}

Status check_f32_shape(const Context& context, const char* name, ConstTensorView view,
                       const Shape& shape) {
  FOVEA_CHECK(check_f32_rank(context, name, view, shape.rank()));
  return check_same_shape(name, view, shape);
}

Status check_activation_rank(const Context& context, const char* name, ConstTensorView view,
                             int rank) {
  if (context.device.kind == DeviceKind::cpu) return check_f32_rank(name, view, rank);
  if (view.dtype != DType::f32 && view.dtype != DType::f16 && view.dtype != DType::bf16) {
    return usage(name, std::string("expected f32, f16 or bf16, found ") + dtype_name(view.dtype));
  }
  FOVEA_CHECK(check_place(name, view, context.device));
  return check_layout(name, view, rank);
}

Status check_activation_shape(const Context& context, const char* name, ConstTensorView view,
                              const Shape& shape) {
  FOVEA_CHECK(check_activation_rank(context, name, view, shape.rank()));
  return check_same_shape(name, view, shape);
}

Status check_list(const Context& context, const char* name, ConstTensorView view, DType dtype) {
  if (is_list(context, view, dtype)) return {};
  return wrong_list(name, view, dtype, "numbers");
}

Status check_list(const Context& context, const char* name, ConstTensorView view, DType dtype,
                  std::int64_t count) {
  if (is_list(context, view, dtype) && view.shape[0] == count) return {};
  return wrong_list(name, view, dtype, Shape{count}.to_string());
}

Status check_cpu(const Context& context) {
  if (context.device.kind == DeviceKind::cpu) return {};
  return make_error(ErrorCode::unsupported, "this operation runs on the CPU only");
}

int threads_for_elements(const Context& context, std::int64_t elements) {
  return static_cast<int>(
      std::clamp<std::int64_t>(elements / kElementsPerThread, 1, std::max(context.threads, 1)));
}

}  // namespace fovea
