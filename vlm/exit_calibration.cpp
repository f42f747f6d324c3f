#include "vlm/exit_calibration.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace fovea {

Result<ExitThreshold> calibrate_exit(std::vector<double> scores, double wanted) {
  if (!(wanted >= 0 && wanted <= 1)) {
    return make_error(ErrorCode::usage,
                      "expected a share from 0 to 1, found " + std::to_string(wanted));
  }
  if (scores.empty()) return make_error(ErrorCode::usage, "there are no scores to calibrate on");
  for (const double score : scores) {
    if (!(score >= 0 && score <= 1)) {
      return make_error(ErrorCode::usage,
                        "expected scores from 0 to 1, found " + std::to_string(score));
    }
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  const std::size_t count = scores.size();
  const double target = wanted * static_cast<double>(count);
  const auto distance = [&](std::size_t exits) {
    return std::abs(static_cast<double>(exits) - target);
  };
  std::size_t best = 0;
  for (std::size_t exits = 1; exits <= count; ++exits) {
    const double highest_out = exits < count ? scores[exits] : 0.0;
    if (scores[exits - 1] > highest_out && distance(exits) < distance(best)) best = exits;
  }
  ExitThreshold found;
  found.exits = best;
  found.share = static_cast<double>(best) / static_cast<double>(count);
  // Half-way between the scores on both sides, so that the rounding of another run, which a prefix
  // snapshot or other threads may bring, moves no question across.
  const double highest_out = best < count ? scores[best] : 0.0;
  const double lowest_in = best > 0 ? scores[best - 1] : 1.0;
  const double between = std::midpoint(highest_out, lowest_in);
  found.threshold = best == count || between >= lowest_in ? highest_out : between;
  return found;
}

}  // namespace fovea
