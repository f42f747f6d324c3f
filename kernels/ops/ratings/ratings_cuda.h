#pragma once
// The device part of ratings.h; arguments were checked, and results are not empty.

#include "kernels/ops/ratings/ratings.h"

namespace fovea {

Status multiply_scores_cuda(Context& context, TensorView a, ConstTensorView b);
Status shift_numbers_cuda(Context& context, TensorView numbers, std::int32_t by);
Status rater_shares_cuda(Context& context, ConstTensorView products, TensorView shares);
Status rate_by_distance_cuda(Context& context, ConstTensorView tile, ConstTensorView shares,
                             std::span<const std::int32_t> rows,
                             std::span<const std::int32_t> columns, std::span<const float> weights,
                             TensorView ratings);
Status row_sums_cuda(Context& context, ConstTensorView x, TensorView sums);
Status mean_of_rows_cuda(Context& context, ConstTensorView x, ConstTensorView rows,
                         TensorView mean);
Status scores_by_head_norms_cuda(Context& context, ConstTensorView class_rows,
                                 ConstTensorView norms, TensorView scores);
Status blend_scores_cuda(Context& context, TensorView state, float old, ConstTensorView scores,
                         float fresh);

}  // namespace fovea
