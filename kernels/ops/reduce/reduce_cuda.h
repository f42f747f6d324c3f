#pragma once
// The GPU's part of reduce.h; arguments were checked. Builds with CUDA alone.

#include "kernels/ops/reduce/reduce.h"

namespace fovea {

Status affinity_sums_cuda(Context& context, ConstTensorView tile, TensorView out);
Status top_k_indices_cuda(Context& context, ConstTensorView scores, TensorView indices);
Status channel_norms_cuda(Context& context, ConstTensorView x, TensorView norms);

}  // namespace fovea
