#pragma once
// From the scores of sample questions to a threshold with which a guide answers a wanted share of
// them itself.

#include <cstddef>
#include <vector>

#include "kernels/base/error.h"

namespace fovea {

struct ExitThreshold {
  double threshold = 0;   // exits where the score is above
  double share = 0;       // of the samples that are
  std::size_t exits = 0;  // that many
};

/// The threshold whose share of exits among `scores` (each from 0 to 1) is nearest to `wanted`;
/// between two as near, the one with fewer exits. It lies half-way between the scores on both sides.
/// Equal scores exit together or not at all. Errors:
/// usage for no scores, scores that are no numbers, and a share outside 0 to 1.
Result<ExitThreshold> calibrate_exit(std::vector<double> scores, double wanted);

}  // namespace fovea
