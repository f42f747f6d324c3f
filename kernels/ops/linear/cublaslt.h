#pragma once
// cuBLASLt's product of a row-major x with a row-major weight, its algorithms kept by shape.

#include <cstdint>
#include <string>

#include "kernels/context.h"

namespace fovea {

/// y = x W^T (+ y) (+ bias): x [rows, inputs] and weight [outputs, inputs] of one float type, y of
/// that type or f32, rows of x and y may have strides; bias [outputs] of y's type, or empty.
/// Errors: device, unsupported.
Status cublaslt_product(Context& context, ConstTensorView weight, ConstTensorView x,
                        ConstTensorView bias, TensorView y, bool accumulate);

}  // namespace fovea
