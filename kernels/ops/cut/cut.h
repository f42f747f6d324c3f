#pragma once
// A cut of a sequence by its tokens' scores, made where the context computes: the host need not
// know which tokens stay.

#include <span>

#include "kernels/context.h"

namespace fovea {

/// scores[i] = scores[i] times factors[i], in double, rounded once; 0 where the factor is 0.
/// scores: f32 [n]. Errors: usage.
Status scale_scores(Context& context, TensorView scores, std::span<const double> factors);

/// rows[i] = the row that becomes row i of a sequence of which the `present` rows from `first` on
/// keep only those named. kept: i32 [k], from 0, ascending; rows: i32 [n - present + k] for a
/// sequence of n rows. Errors: usage.
Status surviving_rows(Context& context, ConstTensorView kept, std::int64_t first,
                      std::int64_t present, TensorView rows);

/// to[i] = from[rows[i]]; all i32, one axis; every row must lie in `from`. Errors: usage.
Status pick_numbers(Context& context, ConstTensorView from, ConstTensorView rows, TensorView to);

}  // namespace fovea
