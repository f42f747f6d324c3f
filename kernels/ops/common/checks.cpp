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

}  // namespace

Status check_f32_rank(const char* name, ConstTensorView view, int rank) {
  if (view.dtype != DType::f32) {
    return usage(name, std::string("expected f32, found ") + dtype_name(view.dtype));
  }
  if (view.device.kind != DeviceKind::cpu) return usage(name, "expected a block on the CPU");
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

Status check_f32_shape(const char* name, ConstTensorView view, const Shape& shape) {
  FOVEA_CHECK(check_f32_rank(name, view, shape.rank()));
  if (!(view.shape == shape)) {
    return usage(name, "expected shape " + shape.to_string() + ", found " + view.shape.to_string());
  }
  return {};
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
