#pragma once
// The GPU's part of gather.h; arguments were checked. Builds with CUDA alone.

#include "kernels/ops/gather/gather.h"

namespace fovea {

/// `rows` lies on the device.
Status gather_rows_cuda(Context& context, ConstTensorView from, const std::int32_t* rows,
                        TensorView to);
/// The lists lie on the device.
Status merge_rows_cuda(Context& context, ConstTensorView from, const std::int32_t* offsets,
                       const std::int32_t* sources, const float* weights, TensorView to);

}  // namespace fovea
