#pragma once
// The GPU's part of attention.h. Builds with CUDA alone.

#include "kernels/ops/attention/attention.h"

namespace fovea {

Status attention_cuda(Context& context, const AttentionArgs& args);
Status attention_scores_cuda(Context& context, const ScoreArgs& args);

}  // namespace fovea
