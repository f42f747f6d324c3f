#pragma once
// What a pruning setting may say beside its method's own options, key by key.

#include <span>
#include <string>

#include "app/prune_options.h"

namespace fovea::app {

/// "must be WANTED, got VALUE": usage.
Error bad_value(const std::string& wanted, const std::string& value);

/// One key; also declares the option of that name.
struct PruneKey {
  const char* name;
  const char* prefix;  // of the option: "--prune-" or "--"
  const char* type;
  const char* help;
  /// Errors: usage, "must be ..., got ...".
  Status (*set)(PruneSetting& setting, const std::string& value);

  std::string option() const { return std::string(prefix) + name; }
};

/// In the order of --help.
std::span<const PruneKey> prune_keys();
/// Null for a name that no key has.
const PruneKey* find_prune_key(const std::string& name);

/// Lists are written with commas, or with plus signs where a comma already divides settings.
inline constexpr const char* kPruneListDividers = ",+";

}  // namespace fovea::app
