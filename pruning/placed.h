#pragma once
// Numbers that a method knows on the host, where a selection is made.

#include <span>

#include "kernels/copy.h"

namespace fovea {

/// A copy in the context's workspace. dtype: the one of T.
template <class T>
Result<TensorView> placed(Context& context, std::span<const T> values, DType dtype) {
  const Shape shape{static_cast<std::int64_t>(values.size())};
  FOVEA_TRY(const TensorView there, context.workspace.take(shape, dtype));
  if (!values.empty()) {
    FOVEA_CHECK(copy(
        context, ConstTensorView(reinterpret_cast<const std::byte*>(values.data()), dtype, shape),
        there));
  }
  return there;
}
inline Result<TensorView> placed(Context& context, std::span<const std::int32_t> values) {
  return placed(context, values, DType::i32);
}
inline Result<TensorView> placed(Context& context, std::span<const float> values) {
  return placed(context, values, DType::f32);
}

}  // namespace fovea
