#pragma once
// A model's sizes as pruning/ wants to hear them.

#include "pruning/accounting.h"
#include "pruning/policy.h"
#include "vlm/llava_model.h"

namespace fovea {

ModelShape model_shape(const DecoderConfig& config);
BudgetShape budget_shape(const LlavaModel& model);

}  // namespace fovea
