#pragma once
// The device part of cut.h; arguments were checked, and results are not empty.

#include <span>

#include "kernels/context.h"

namespace fovea {

Status scale_scores_cuda(Context& context, TensorView scores, std::span<const double> factors);
Status surviving_rows_cuda(Context& context, ConstTensorView kept, std::int64_t first,
                           std::int64_t present, TensorView rows);
Status pick_numbers_cuda(Context& context, ConstTensorView from, ConstTensorView rows,
                         TensorView to);

}  // namespace fovea
