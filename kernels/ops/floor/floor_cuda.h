#pragma once
// The floors of a GPU, measured with its own events.

#include "kernels/ops/floor/floor.h"

namespace fovea {

/// Several rows through cuBLASLt alone, one row through our own product, which reads faster;
/// weights and x of the type that `dtype` names, results f32.
Result<ProductFloor> measure_product_cuda(Context& context, const ProductShape& shape,
                                          LinearDType dtype);
Result<double> measure_read_bandwidth_cuda(Context& context);

}  // namespace fovea
