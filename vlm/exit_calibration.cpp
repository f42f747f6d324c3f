#include "vlm/exit_calibration.h"

#include <algorithm>
#include <cmath>
#include <functional>

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
    // The best score that stays out is the threshold; 0 where none does.
    const double highest_out = exits < count ? scores[exits] : 0.0;
    if (scores[exits - 1] > highest_out && distance(exits) < distance(best)) best = exits;
  }
  ExitThreshold found;
  found.exits = best;
  found.share = static_cast<double>(best) / static_cast<double>(count);
  found.threshold = best < count ? scores[best] : 0.0;
  return found;
}

}  // namespace fovea
