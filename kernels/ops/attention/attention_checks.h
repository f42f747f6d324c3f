#pragma once
// Preconditions of attention() and attention_scores(), and what the kernels learn from them.

#include "kernels/ops/attention/attention.h"

namespace fovea {

/// Usage error unless the arguments fit together as attention.h says.
Status check_attention(const Context& context, const AttentionArgs& args);
Status check_attention_scores(const Context& context, const ScoreArgs& args);

/// Tokens present, or on a GPU how many there are at most.
std::int32_t known_length(const Context& context, const KvView& kv);

/// Shape of `out` for these reductions, "heads or nothing, rows or nothing, columns".
Shape score_shape(const ScoreArgs& args);

}  // namespace fovea
