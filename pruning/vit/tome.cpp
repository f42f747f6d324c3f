#include "pruning/vit/tome.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/ops/alike/alike.h"

namespace fovea {

namespace {

Error wrong(std::string message) {
  return make_error(ErrorCode::usage, "ToMe: " + std::move(message));
}

}  // namespace

Result<std::vector<std::int64_t>> tome_merges(const ToMeSettings& settings, int blocks,
                                              std::int64_t patches, std::int64_t special) {
  const auto n = static_cast<std::size_t>(std::max(blocks, 0));
  std::vector<std::int64_t> merges(n, 0);
  if (settings.merges.size() > std::max<std::size_t>(n, 1)) {
    return wrong(std::to_string(settings.merges.size()) + " counts for " + std::to_string(n) +
                 " blocks");
  }
  for (const std::int64_t count : settings.merges) {
    if (count < 0) return wrong("counts are at least 0");
  }
  if (!(settings.inflect >= -1 && settings.inflect <= 1)) {
    return wrong("the inflection lies between -1 and 1");
  }
  if (!(settings.keep >= 0 && settings.keep <= 1)) {
    return wrong("the share of patches kept lies between 0 and 1");
  }
  if (settings.merges.empty()) {
    const auto left = std::llround(settings.keep * static_cast<double>(patches));
    std::int64_t total = patches - left;
    const auto count = static_cast<std::int64_t>(n);
    for (std::int64_t i = 0; i < count; ++i) {
      merges[static_cast<std::size_t>(i)] = total / count + (i < total % count ? 1 : 0);
    }
  } else if (settings.merges.size() == 1 && n > 0) {
    const auto r = static_cast<double>(settings.merges.front());
    const double lo = std::trunc(r * (1 - settings.inflect));
    const double hi = 2 * r - lo;
    const double steps = n > 1 ? static_cast<double>(n - 1) : 1.0;
    for (std::size_t i = 0; i < n; ++i) {
      merges[i] = static_cast<std::int64_t>(lo + static_cast<double>(i) * (hi - lo) / steps);
    }
  } else {
    std::copy(settings.merges.begin(), settings.merges.end(), merges.begin());
  }
  std::int64_t present = patches + special;
  for (std::int64_t& count : merges) {
    count = std::min(count, most_merges(present, special));
    present -= count;
  }
  return merges;
}

Result<double> tome_keep_for_work(const VitWork& work, int blocks, std::int64_t special,
                                  double share) {
  const auto cost = [&](std::int64_t left) -> Result<double> {
    ToMeSettings settings;
    settings.keep = static_cast<double>(left) / static_cast<double>(work.patches);
    FOVEA_TRY(const auto merges, tome_merges(settings, blocks, work.patches, special));
    double total = work.embedding_gflops();
    auto tokens = static_cast<double>(work.patches + special);
    for (const std::int64_t count : merges) {
      const double after = tokens - static_cast<double>(count);
      total += work.block_gflops(tokens, after);
      tokens = after;
    }
    return total;
  };
  FOVEA_TRY(const double whole, cost(work.patches));
  FOVEA_TRY(const double least, cost(0));
  const double wanted = share * whole;
  if (!(wanted >= least) || !(share <= 1)) {
    return wrong("a share of " + std::to_string(share) +
                 " of the work is out of reach: it lies between " + std::to_string(least / whole) +
                 " and 1");
  }
  std::int64_t low = 0, high = work.patches;
  while (high - low > 1) {
    const std::int64_t middle = (low + high) / 2;
    FOVEA_TRY(const double here, cost(middle));
    (here < wanted ? low : high) = middle;
  }
  FOVEA_TRY(const double below, cost(low));
  FOVEA_TRY(const double above, cost(high));
  const bool low_is_nearer = wanted - below < above - wanted;
  return static_cast<double>(low_is_nearer ? low : high) / static_cast<double>(work.patches);
}

}  // namespace fovea
