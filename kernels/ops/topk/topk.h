#pragma once
// Choosing the largest scores.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/context.h"

namespace fovea {

/// Indices of the k largest scores, ascending by index. Equal scores: the lower index wins. NaN
/// counts as the smallest. k is clamped to the number of scores; k <= 0 gives none.
std::vector<std::int32_t> top_k_ascending(std::span<const float> scores, std::int64_t k);

/// The same, ordered by score descending (lower index first among equals).
std::vector<std::int32_t> top_k_ranked(std::span<const float> scores, std::int64_t k);

/// Index of the largest value, the first among equals; NaN is never chosen unless all are NaN.
/// -1 for no values.
std::int32_t arg_max(std::span<const float> values);

}  // namespace fovea
