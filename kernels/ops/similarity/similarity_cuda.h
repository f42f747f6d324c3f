#pragma once
// The GPU's part of similarity.h; arguments were checked. Builds with CUDA alone.

#include "kernels/ops/similarity/similarity.h"

namespace fovea {

Status normalize_rows_cuda(Context& context, ConstTensorView x, TensorView y);
Status row_products_cuda(Context& context, ConstTensorView a, ConstTensorView b, TensorView out);
Status farthest_rows_cuda(Context& context, ConstTensorView unit, TensorView indices);
Status head_means_cuda(Context& context, ConstTensorView x, TensorView mean);

}  // namespace fovea
