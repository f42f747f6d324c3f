#pragma once
// Where suites of whole models run: FOVEA_TEST_DEVICE=cuda puts them on the first GPU, against the
// same expected values.

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/copy.h"
#include "kernels/device.h"

namespace fovea::testing {

inline Device model_device() {
  const char* name = std::getenv("FOVEA_TEST_DEVICE");
  const bool cuda = name != nullptr && std::string_view(name) == "cuda";
  return {.kind = cuda ? DeviceKind::cuda : DeviceKind::cpu, .index = 0};
}

inline Context model_context(int threads = 1) {
  Result<Context> context = make_context(model_device(), threads);
  if (!context) {
    ADD_FAILURE() << context.error().to_string();
    Context here;
    return here;
  }
  return std::move(*context);
}

/// Lets `write` fill a block of this shape where the context computes; `values` gets what it wrote.
inline Status filled_there(Context& context, Shape shape, std::vector<float>& values,
                           const std::function<Status(TensorView)>& write) {
  values.resize(static_cast<std::size_t>(shape.elements()));
  FOVEA_TRY(Tensor block, Tensor::allocate(shape, DType::f32, context.device));
  FOVEA_CHECK(write(block.view()));
  FOVEA_CHECK(copy(context, std::as_const(block).view(),
                   TensorView(reinterpret_cast<std::byte*>(values.data()), DType::f32, shape)));
  return synchronize(context);
}

/// The same for the one row of logits that a step gives.
inline Status row_there(Context& context, std::vector<float>& values,
                        const std::function<Status(TensorView)>& write) {
  return filled_there(context, Shape{1, static_cast<std::int64_t>(values.size())}, values, write);
}

}  // namespace fovea::testing
