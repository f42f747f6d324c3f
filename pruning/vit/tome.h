#pragma once
// Token Merging (ToMe, arXiv 2210.09461): inside every block of a Vision Transformer, between
// attention and MLP, the patches that look most alike by their keys become one. Nothing is trained.
// Nothing here knows a model: keys come in, merges go out.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/error.h"
#include "pruning/vit/adaptive_vit.h"

namespace fovea {

/// How many tokens merge away in each block, as written.
struct ToMeSettings {
  /// One number for all blocks, or one for each from the first on (the rest merge none).
  std::vector<std::int64_t> merges;
  /// With one number r: from -1 to 1, block i of n merges int(lo + i (hi - lo) / (n - 1)), with lo
  /// = int(r (1 - inflect)) and hi = 2 r - lo: -1 merges most in the first blocks, 0 evenly.
  double inflect = 0;
  /// With no number: the patches left at the end, as a share of all; merges are spread over the
  /// blocks evenly, the first ones taking one more where that does not divide.
  double keep = 1;
  /// The logarithm of a token's size is added to its logits, as for the published ViT and DeiT.
  bool proportional = true;
};

/// Merges in each of `blocks` blocks of a tower with `patches` patches and `special` tokens before
/// them, no more in a block than half of the tokens there but the class token's. Errors: usage for
/// numbers that are negative, shares or inflections out of range, and more numbers than blocks.
Result<std::vector<std::int64_t>> tome_merges(const ToMeSettings& settings, int blocks,
                                              std::int64_t patches, std::int64_t special);

/// The share ToMeSettings::keep for which a picture costs `share` of its unpruned work, as near as
/// whole patches allow. Errors: usage where even merging all that can merge costs more.
Result<double> tome_keep_for_work(const VitWork& work, int blocks, std::int64_t special,
                                  double share);

}  // namespace fovea
