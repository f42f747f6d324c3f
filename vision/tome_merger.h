#pragma once
// Token Merging (arXiv 2210.09461) inside the encoder: between the attention and the MLP of each
// block tokens with like keys become one, and the later blocks are cheaper for it.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/fetch.h"
#include "pruning/vit/tome.h"
#include "vision/adaptive_vit.h"
#include "vision/tower_pruner.h"
#include "vision/vit.h"

namespace fovea {

/// Runs ToMe over the batches of an encoder. One pass at a time.
class ToMeMerger final : public VitMerger {
 public:
  /// Errors: those of tome_merges().
  static Result<ToMeMerger> create(const ToMeSettings& settings, const VitEncoder& encoder);

  Status start(Context& context, std::int64_t pictures) override;
  std::span<const float* const> key_bias() override;
  Status after_attention(Context& context, const VitBlockView& block, VitRows& rows,
                         TensorView hidden) override;
  Status finish(VitRows& rows) override;

  /// Of the pass that has just run, by picture. Patches by raster index; a merged token's sources
  /// ascend. One stage for each block that merged.
  const std::vector<VitPruneRecord>& records() const { return records_; }
  /// By picture and row that is left: the rows of the tower it is made of, ascending.
  const std::vector<std::vector<std::int32_t>>& members(std::int64_t picture) const {
    return pictures_[static_cast<std::size_t>(picture)].members;
  }

 private:
  struct Picture {
    std::vector<std::vector<std::int32_t>> members;  // told at the end
    Tensor sizes, bias;  // f32, of each token, and its logarithm; where the tower computes
  };
  /// What a block made of one picture's tokens, on its way to the host.
  struct Merged {
    int layer = 0;
    std::size_t picture = 0;
    Arriving offsets, sources;
  };

  ToMeMerger(std::vector<std::int64_t> merges, bool proportional, const VitConfig& config)
      : merges_(std::move(merges)), proportional_(proportional), config_(config) {}
  /// One picture's tokens; `left` takes the states of those that go on.
  Status merge(Context& context, const VitBlockView& block, std::size_t picture,
               ConstTensorView hidden, TensorView left);
  void record(int layer, std::size_t picture);

  std::vector<std::int64_t> merges_;  // by block
  bool proportional_;
  VitConfig config_;
  std::vector<Picture> pictures_;
  std::vector<Merged> merged_;      // in the order of the blocks
  std::vector<const float*> bias_;  // of each picture; empty while every token is one patch
  std::vector<VitPruneRecord> records_;
};

/// ToMe in the tower of a language model. Tokens come in the order of their first sources, in whose
/// cells they stand. `name` is for messages. Errors of its runs: those of tome_merges().
std::shared_ptr<TowerPruner> tome_tower_pruner(ToMeSettings settings, std::string name);

}  // namespace fovea
