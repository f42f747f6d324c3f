#pragma once
// Every pruning method by the name users give it. A new method is one file in methods/ and one row
// of the table in method.cpp.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pruning/policy.h"
#include "pruning/schedule.h"
#include "pruning/scoring_policy.h"

namespace fovea {

/// What a user asked of a method.
struct MethodRequest {
  std::string name;
  ScheduleRequest schedule;
  std::uint64_t seed = 0;                      // of methods that draw at random
  std::map<std::string, std::string> options;  // the method's own, by name
  std::string config;                          // path of a calibration file, or empty
  /// Applied to the scores before each cut, in this order (debiasing).
  std::vector<std::shared_ptr<const ScoreAdjustment>> adjustments;
};

/// One option that a method has beside its schedule.
struct MethodOption {
  const char* name;
  const char* values;  // "uniform|last_row", for help and errors
  const char* meaning;
};

/// One row of the table of methods.
struct Method {
  const char* name;
  const char* paper;    // arXiv number, or empty
  const char* summary;  // one line for --help
  const std::vector<SchedulePreset>& (*presets)();
  const char* default_preset;  // empty: none, the method needs a calibration file or own counts
  CutSide side;                // of the layers that its schedule names
  std::vector<MethodOption> options;
  Result<std::shared_ptr<Policy>> (*make)(const MethodRequest& request);
  bool reads_config = false;  // MethodRequest::config
  bool needs_config = false;  // and cannot do anything without
};

/// In the order of --help.
std::span<const Method> methods();
/// Null for a name that no method has.
const Method* find_method(const std::string& name);

/// Errors: usage for an unknown name, an option the method does not have or a value that it does
/// not take, a calibration file that the method does not read, adjustments for a method that ranks
/// by no score. Schedules are checked by Policy::plan().
Result<std::shared_ptr<Policy>> make_policy(const MethodRequest& request);

}  // namespace fovea
