#pragma once
// The device part of counts.h; arguments were checked.

#include "kernels/ops/counts/counts.h"

namespace fovea {

Status tokens_carrying_cuda(Context& context, ConstTensorView mass, double tau, TensorView count);
Status divide_scores_cuda(Context& context, TensorView scores, std::span<const float> divisors);
Status listed_among_best_cuda(Context& context, ConstTensorView scores, ConstTensorView count,
                              std::span<const std::int32_t> listed, TensorView found);
Status best_indices_cuda(Context& context, ConstTensorView scores, std::int64_t most,
                         TensorView count, TensorView indices);
Status indices_above_cuda(Context& context, ConstTensorView scores, float threshold,
                          TensorView count, TensorView indices);

}  // namespace fovea
