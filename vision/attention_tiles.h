#pragma once
// Rows of an attention matrix recomputed a few at a time.

#include <cstdint>
#include <functional>

#include "kernels/context.h"
#include "vision/vit.h"

namespace fovea {

/// Query rows [first, first + count) of one picture: probabilities f32 [heads, count, tokens].
using AttentionTileVisitor =
    std::function<Status(std::int64_t first, std::int64_t count, ConstTensorView tile)>;

/// Calls `visit` over rows [0, rows), at most 64 at a time, in order. query, key and lse as in
/// VitPictureView. Errors: those of attention_scores() and of the visitor, cancelled.
Status visit_attention(Context& context, ConstTensorView query, ConstTensorView key,
                       ConstTensorView lse, float scale, std::int64_t rows,
                       const AttentionTileVisitor& visit);

}  // namespace fovea
