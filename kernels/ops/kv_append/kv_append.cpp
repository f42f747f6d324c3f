// Builds without CUDA have no device to which these could belong.

#include "kernels/ops/kv_append/kv_append.h"

#ifndef FOVEA_WITH_CUDA

namespace fovea {
namespace {

Error no_device() {
  return make_error(ErrorCode::internal, "pages on a GPU in a build without CUDA");
}

}  // namespace

Status append_rows(Context&, const KvTable&, std::int32_t, std::span<std::byte* const>,
                   std::span<std::byte* const>, ConstTensorView, ConstTensorView) {
  return no_device();
}

Status append_rows(Context&, std::span<const KvRows>, ConstTensorView, ConstTensorView) {
  return no_device();
}

Status turn_and_write_last_row(Context&, const KvTable&, TensorView, ConstTensorView,
                               ConstTensorView, ConstTensorView, float) {
  return no_device();
}

Status turn_and_write_last_rows(Context&, const KvTables&, TensorView, ConstTensorView,
                                ConstTensorView, ConstTensorView, float) {
  return no_device();
}

Status increase(Context&, TensorView, ConstTensorView) {
  return no_device();
}

}  // namespace fovea

#endif
