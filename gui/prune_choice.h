#pragma once
// What the user chose to prune with, as data: shown, saved, compared, and made into a policy.

#include <QString>
#include <QStringList>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "pruning/method.h"
#include "vision/tower_pruner.h"

namespace fovea::gui {

/// To begin with: those calibrated for 0.65 of the bundled tower's work, rounded.
inline constexpr std::array<double, 3> kFirstTowerThresholds{0.0006, 0.0005, 0.0013};

struct PruneChoice {
  QString method;                // a name of methods(), or empty: nothing is pruned
  QString preset;                // empty: the method's default
  std::optional<double> budget;  // visual tokens entering each layer on average; wins over preset
  std::optional<double> debias;  // sigma of the weights exp(-sigma i / (L - 1)) on the scores
  bool ignore_padding = false;   // scores of padding do not count
  /// sgl: the guide's answer is taken where its score (or its confidence) is above; none: never.
  std::optional<double> exit_threshold;
  bool exit_by_confidence = false;
  /// In the vision tower, beside the method: which patches stay, and the share left at its end, or
  /// (adaptive) the score from 0 to 1 that they must exceed at each cut.
  enum class Tower { whole, top_k, random, merged, adaptive } tower = Tower::whole;
  double tower_share = 0.5;
  std::array<double, 3> tower_thresholds = kFirstTowerThresholds;
  std::vector<std::int32_t> keep;  // visual tokens chosen by hand, ascending; wins over method

  bool prunes() const { return !method.isEmpty() || !keep.empty() || prunes_tower(); }
  bool prunes_tower() const { return tower != Tower::whole; }
  bool debiased() const { return !method.isEmpty() && keep.empty() && (debias || ignore_padding); }
  PruneChoice without_debias() const;
  /// Whether a small model answers first.
  bool needs_guide() const;
  /// The same guide, whose answer is always taken.
  PruneChoice guide_alone() const;
  /// As the command line writes it: "none", "fastv", "fastv:budget=64:debias=1.2"; a choice made by
  /// hand, which no short text can hold, as its size.
  QString label() const;
  bool operator==(const PruneChoice&) const = default;
};

/// Whether a method ranks by scores that can be debiased.
bool takes_debias(const QString& method);

/// A choice of a method as the library takes it. Precondition: it names a method, and no patches
/// chosen by hand. Errors: usage.
Result<MethodRequest> method_request(const PruneChoice& choice);

/// Null for a choice that prunes nothing between the decoder's layers. Errors: usage.
Result<std::shared_ptr<Policy>> make_policy(const PruneChoice& choice);

/// Null for a choice that leaves the tower whole. Errors: usage, for a tower too shallow to cut.
Result<std::shared_ptr<TowerPruner>> make_tower_pruner(const PruneChoice& choice,
                                                       const VitEncoder& tower);

/// "topk", "random", "tome" and "adaptive" as --vit-prune has them, "whole"; and back, whole for
/// other names.
const char* tower_name(PruneChoice::Tower tower);
PruneChoice::Tower find_tower(const QString& name);

}  // namespace fovea::gui
