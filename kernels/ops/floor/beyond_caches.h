#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace fovea {

/// Bytes that no cache of this machine holds.
inline std::int64_t beyond_caches() {
  constexpr std::int64_t kLeast = std::int64_t{256} << 20;
  constexpr std::int64_t kMost = std::int64_t{2} << 30;
  const auto cache = static_cast<std::int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE));
  return std::clamp(4 * cache, kLeast, kMost);
}

}  // namespace fovea
