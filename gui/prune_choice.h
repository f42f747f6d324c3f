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
  std::optional<double> debias;  // sigma of the weights exp(-sigma i / (L - 1)) on the scores
  bool ignore_padding = false;   // scores of padding do not count
  std::vector<std::int32_t> keep;  // visual tokens chosen by hand, ascending; wins over method

  bool prunes() const { return !method.isEmpty() || !keep.empty(); }
  bool debiased() const { return !method.isEmpty() && keep.empty() && (debias || ignore_padding); }
  PruneChoice without_debias() const;
  /// As the command line writes it: "none", "fastv", "fastv:budget=64:debias=1.2"; a choice made by
  /// hand, which no short text can hold, as its size.
  QString label() const;
  bool operator==(const PruneChoice&) const = default;
};

/// Whether a method ranks by scores that can be debiased.
bool takes_debias(const QString& method);

/// Null for a choice that prunes nothing. Errors: usage.
Result<std::shared_ptr<Policy>> make_policy(const PruneChoice& choice);

}  // namespace fovea::gui
