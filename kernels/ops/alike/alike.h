#pragma once
// Tokens that look alike become one (Token Merging, arXiv 2210.09461).

#include <cstdint>

#include "kernels/context.h"
#include "kernels/ops/groups/groups.h"

namespace fovea {

/// How many of n tokens, the first `special` left alone, can merge into others at most.
std::int64_t most_merges(std::int64_t n, std::int64_t special);

/// What becomes of n tokens of which m merge away.
struct AlikeTokens {
  Groups groups;       // [n - m + 1], [n]: the token that others merged into comes first
  TensorView weights;  // f32 [n], of the members: their sizes over the group's
  TensorView sizes;    // f32 [n - m], of the groups
  TensorView bias;     // f32 [n - m], the logarithms of the sizes
};

/// keys: f32 [n, channels]; sizes: f32 [n]. Tokens of even places each find the token of an odd
/// place with the largest cosine between keys, in double (the first among equals); the m that found
/// the closest (the first among equals) merge into theirs, weighted by size. The first `special`
/// tokens (a class token, a distillation token) neither merge away nor take others in. Groups:
/// those, then the even tokens left, then the odd ones. m = n - groups is at most most_merges().
/// Errors: usage.
Status merge_alike(Context& context, ConstTensorView keys, ConstTensorView sizes,
                   std::int64_t special, const AlikeTokens& tokens);

}  // namespace fovea
