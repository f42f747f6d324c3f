#pragma once
// Choices whose number depends on the scores themselves (ZipVL, AS-ViT): counts stay where the
// context computes, as i32 [1].

#include <cstdint>
#include <span>

#include "kernels/context.h"

namespace fovea {

/// count = the smallest number of values whose sum, largest first, reaches tau times the sum of
/// all, in double. mass: f32 [n], no value negative. Errors: usage, as for all below.
Status tokens_carrying(Context& context, ConstTensorView mass, double tau, TensorView count);

/// scores[i] /= divisors[i]; scores: f32 [n].
Status divide_scores(Context& context, TensorView scores, std::span<const float> divisors);

/// found = how many of `listed` (indices, ascending) are among the `count` best of scores (f32
/// [n]), ordered as by top_k_indices().
Status listed_among_best(Context& context, ConstTensorView scores, ConstTensorView count,
                         std::span<const std::int32_t> listed, TensorView found);

/// The first *count of `indices` (i32 [n]) become those of the best scores (f32 [n]), ascending, as
/// by top_k_indices(); the rest is -1. *count is first brought down to `most`.
Status best_indices(Context& context, ConstTensorView scores, std::int64_t most, TensorView count,
                    TensorView indices);

/// The first *count of `indices` (i32 [n]) become those of the scores (f32 [n]) above `threshold`,
/// ascending; the rest is -1.
Status indices_above(Context& context, ConstTensorView scores, float threshold, TensorView count,
                     TensorView indices);

}  // namespace fovea
