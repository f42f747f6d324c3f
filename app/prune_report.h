#pragma once
// What pruning did and what it saved, for people and as JSON.

#include <string>
#include <vector>

#include "app/prune_options.h"
#include "kernels/base/json.h"
#include "vlm/session.h"

namespace fovea::app {

/// Where a setting's layers and counts come from: "adaptinfer 64", "fastv with layers and counts of
/// its own", "random 64 for a mean of 192 tokens entering a layer"; "none" without pruning.
std::string schedule_source(const PruneSetting& setting);

/// The rule by which the setting's preset was moved to a model of this many layers and a prompt of
/// this many visual tokens; empty where nothing had to be moved.
std::string schedule_rule(const PruneSetting& setting, int layers, std::int64_t visual);

/// What was kept where: "after layer 1 keep 133, after layer 10 keep 27", or "everything is kept".
std::string stages_text(const PruningRecord& record);

/// {"layer", "when", "kept"} and, where there are such, {"sources", "bypass"}.
Json stage_json(const StageRecord& stage);

/// {"initial", "equivalent", "entering_mean", "positions", "stages"} and, beside the contract's,
/// {"prune", "schedule", "rule", "entering", "kv_bytes", "kv_bytes_unpruned", "prefill_flops",
/// "prefill_flops_unpruned"}.
Json visual_tokens_json(const Answer& answer, const PruneSetting& setting, int layers);

/// The same in lines for people, each figure beside the unpruned run's.
std::vector<std::string> budget_lines(const Answer& answer, const PruneSetting& setting,
                                      int layers);

}  // namespace fovea::app
