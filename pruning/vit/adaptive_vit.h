#pragma once
// Adaptive Sparse ViT (arXiv 2209.13802): between blocks of a Vision Transformer each picture keeps
// the patches whose class attention, weighted by how much each head matters to the patch, lies
// above a learned threshold. How many survive differs from picture to picture. Beside it stand the
// two rules papers compare with at equal work: a fixed number of the best, and as many by lot.
//
// Nothing here knows a model: class attention and norms come in, survivors go out.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/context.h"

namespace fovea {

/// Which scores decide: those of the block before (published), their sum over blocks, or a running
/// mean that moves by a hundredth each block.
enum class VitScoreState { last, accu, ema };

enum class VitKeepRule {
  threshold,      // each picture keeps what lies strictly above the threshold
  batch_average,  // every picture keeps its best k, k = floor(mean over the batch of what lies
                  // above): the published code's way with several pictures at a time
  top_k,          // every picture keeps a fixed share of its patches, the best
  random,         // the same number, drawn by lot
};

/// The first block whose scores count: class attention is unsteady before (section 3), so the first
/// cut can come before block 3.
inline constexpr int kFirstScoredBlock = 2;

struct VitCut {
  int block = 0;          // the cut comes before this block, counted from 0
  float threshold = 0;    // of rules that compare
  double keep_share = 1;  // of rules that count: share of all patches, rounded to the nearest
};

struct VitPruneSettings {
  std::vector<VitCut> cuts;  // blocks ascending
  VitKeepRule rule = VitKeepRule::threshold;
  VitScoreState state = VitScoreState::last;
  std::uint64_t seed = 0;  // of VitKeepRule::random
};

/// Blocks ascend, the first at least kFirstScoredBlock + 1 and the last below `layers`; thresholds
/// are finite, shares from 0 to 1 and falling. Errors: usage, naming the cut at fault.
Status check_vit_prune(const VitPruneSettings& settings, int layers);

/// Blocks 4, 7 and 10 of twelve (the published choice), moved to another depth: block round(b L /
/// 12), at least kFirstScoredBlock + 1 and above the one before; those that reach past the last
/// block are left out.
std::vector<int> default_vit_cuts(int layers);

/// Scores and survivors of one batch of pictures on their way through the blocks.
class VitPruning {
 public:
  /// `settings` were checked. patches: how many each picture has before the first cut.
  /// picture_keys: one per picture, for draws by lot.
  VitPruning(VitPruneSettings settings, std::span<const std::uint64_t> picture_keys,
             std::int64_t patches);

  const VitPruneSettings& settings() const { return settings_; }
  /// Index of the cut that comes before a block; -1 for none.
  int cut_before(int block) const;
  /// Whether a block's scores can still decide anything.
  bool wants_scores(int block) const;
  /// The scores of the block that has just run: of a picture's patches that are present, in order;
  /// f32 [n], where the context computes, which is one place for a whole pass.
  Status add_scores(Context& context, std::int64_t picture, ConstTensorView scores);
  /// What a cut would compare: the score state of the patches present. Waits for them.
  Result<std::vector<float>> state(Context& context, std::int64_t picture) const;
  /// Decides a cut for all pictures: ascending indices among the patches present before it. None at
  /// all may survive: then the class token goes on alone. Where scores lie on a GPU they are
  /// compared there, and the host waits for the names of those that stay. Errors: internal where
  /// nobody has scored.
  Result<std::vector<std::vector<std::int32_t>>> cut(Context& context, int index);

 private:
  using Survivors = std::vector<std::vector<std::int32_t>>;
  std::int64_t counted(const VitCut& cut) const;
  std::vector<std::int32_t> draw(const VitCut& cut, std::size_t picture) const;
  /// Each picture's patches above the threshold.
  Result<Survivors> above(Context& context, float threshold) const;
  /// Each picture's `count` best, or all.
  Result<Survivors> best(Context& context, std::int64_t count) const;
  ConstTensorView scored(std::size_t picture) const;

  VitPruneSettings settings_;
  std::vector<std::uint64_t> keys_;
  std::int64_t patches_;
  std::vector<std::int64_t> present_;  // per picture
  std::vector<Tensor> state_;          // per picture; empty before the first scores
};

/// Multiply-adds in units of 1e9, as papers count a ViT's "GFLOPs" (section 5): for a block over n
/// tokens 4 d^2 n + 2 d n^2 + 2 r d^2 n, with r the MLP's width over d. Twelve blocks of DeiT-S at
/// n = 197 give 4.541, with the patch embedding 4.598. The head and the norms are not counted.
struct VitWork {
  std::int64_t hidden = 0, intermediate = 0;
  std::int64_t patch_inputs = 0;  // channels * patch_size^2
  std::int64_t patches = 0;       // embedded, whatever survives

  double block_gflops(double tokens) const { return block_gflops(tokens, tokens); }
  /// mlp_tokens: those that reach the MLP.
  double block_gflops(double tokens, double mlp_tokens) const;
  double embedding_gflops() const;
  /// tokens_entering: tokens (class token included) that enter each block.
  double gflops(std::span<const std::int64_t> tokens_entering) const;
  /// tokens_after_attention: that reach each block's MLP; empty where all do.
  double gflops(std::span<const std::int64_t> tokens_entering,
                std::span<const std::int64_t> tokens_after_attention) const;
};

/// Shares to keep before each of `cuts`, s, s^2, s^3 and so on, for which a picture costs `share`
/// of its unpruned work (as near as whole patches allow). special: tokens beside the patches.
/// Errors: usage where even s = 0 costs more, naming the least share.
Result<std::vector<double>> keep_for_work(const VitWork& work, std::span<const int> cuts,
                                          int layers, std::int64_t special, double share);

}  // namespace fovea
