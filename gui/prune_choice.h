#pragma once
// What the user chose to prune with, as data: shown, saved, compared, and made into a policy.

#include <QString>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "pruning/method.h"

namespace fovea::gui {

struct PruneChoice {
  QString method;                // a name of methods(), or empty: nothing is pruned
  QString preset;                // empty: the method's default
  std::optional<double> budget;  // visual tokens entering each layer on average; wins over preset

  bool prunes() const { return !method.isEmpty(); }
  /// As the command line writes it: "none", "fastv", "fastv:budget=64".
  QString label() const;
  bool operator==(const PruneChoice&) const = default;
};

/// Null for a choice that prunes nothing. Errors: usage.
Result<std::shared_ptr<Policy>> make_policy(const PruneChoice& choice);

}  // namespace fovea::gui
