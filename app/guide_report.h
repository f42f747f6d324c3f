#pragma once
// What a guide said and cost, for people and as JSON.

#include <string>

#include "kernels/base/json.h"
#include "vlm/guided_session.h"

namespace fovea::app {

/// {"answer", "confidence", "consistency", "score", "exited"} and, beside the contract's, {"model",
/// "token_ids", "finish_reason", "exit_value", "timings_ms", "kv_bytes", "flops",
/// "entering_equivalent"}; null for an answer without a guide. Consistency and score are null where
/// the second pass was not needed.
Json guide_json(const Answer& answer);

/// The same in a line; empty without a guide.
std::string guide_line(const Answer& answer);

}  // namespace fovea::app
