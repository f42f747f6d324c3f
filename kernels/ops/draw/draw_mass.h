#pragma once
// The arithmetic behind draw.h, alike on the host and on a GPU.

#include <cmath>
#include <cstdint>

#include "kernels/cuda/both.h"

namespace fovea {

/// Of a token as likely as the likeliest.
inline constexpr double kWholeMass = 0x1p42;

FOVEA_ON_BOTH inline std::uint64_t drawn_mass(float logit, float largest, double temperature) {
  const double distance = static_cast<double>(logit) - static_cast<double>(largest);
  return static_cast<std::uint64_t>(llrint(exp(distance / temperature) * kWholeMass));
}

/// The nucleus ends with the token whose mass, added to those before it, reaches this.
FOVEA_ON_BOTH inline std::uint64_t nucleus_target(std::uint64_t total, double top_p) {
  const double target = ceil(top_p * static_cast<double>(total));
  if (!(target >= 1.0)) return 1;
  return target < static_cast<double>(total) ? static_cast<std::uint64_t>(target) : total;
}

/// The same for the token that is drawn. What rounding leaves over belongs to the last one.
FOVEA_ON_BOTH inline std::uint64_t drawn_target(std::uint64_t kept, double uniform) {
  const double before = floor(uniform * static_cast<double>(kept));
  return before < static_cast<double>(kept) ? static_cast<std::uint64_t>(before) + 1 : kept;
}

}  // namespace fovea
