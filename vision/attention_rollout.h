#pragma once
// Attention rollout (arXiv 2005.00928): how much of each token reaches the class token through all
// blocks, were attention all that moves information. Each block counts as half attention, half
// residual connection, rows normalised to one.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/context.h"
#include "vision/vit.h"

namespace fovea {

enum class HeadFusion { mean, max, min };
std::optional<HeadFusion> find_head_fusion(const std::string& name);
const char* head_fusion_name(HeadFusion fusion);

struct RolloutOptions {
  HeadFusion fusion = HeadFusion::mean;
  /// Share of a block's fused probabilities that is set to zero, the smallest first (in raster
  /// order among equals), except the class token's attention to itself; in [0, 1).
  double discard = 0;
};

/// What rollout needs of every block of one picture: queries, keys and lse, copied. Memory is
/// linear in the tokens (2 hidden + heads numbers each, per block).
class AttentionTrace {
 public:
  Status record(const VitBlockView& block, std::int64_t picture);
  void clear() { blocks_.clear(); }
  std::size_t bytes() const;

  struct Block {
    Tensor query, key;  // [tokens, heads, head_dim] f32
    Tensor lse;         // [heads, tokens] f32
    float scale = 1.0F;
    std::vector<std::int32_t> tokens;  // as in VitRows: pruned towers lose some between blocks
  };
  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  std::vector<Block> blocks_;
};

/// The class token's row of the product of all blocks: one number per token of the first block, in
/// all one. Vectors are carried from the last block back to the first, so that no [tokens, tokens]
/// matrix is ever stored. Costs one recomputation of every block's probabilities (of the last, one
/// row); with a discard ratio three more, because the boundary value is found by counting. Errors:
/// usage (no blocks, a ratio outside [0, 1)), those of attention_scores(), cancelled.
Result<std::vector<float>> attention_rollout(Context& context, const AttentionTrace& trace,
                                             const RolloutOptions& options = {});

}  // namespace fovea
