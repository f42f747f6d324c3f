#pragma once
// What a ViT block's attention does, streamed from query, key and log-sum-exp: rows of
// probabilities are recomputed a tile at a time, so that memory grows with the number of tokens,
// not its square.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/context.h"
#include "vision/vit.h"

namespace fovea {

/// Normalised mutual information of queries and keys of an attention map (ICLR 2023, "What do
/// self-supervised vision transformers learn?"; used by UNIP, arXiv 2502.02257): 0 where all
/// queries attend alike, high where each looks at its own place. Fed row by row.
class AttentionNmi {
 public:
  explicit AttentionNmi(std::int64_t keys) : sums_(static_cast<std::size_t>(keys), 0.0) {}

  /// One query's probabilities over all keys; they sum to one. Returns the row's entropy in nats,
  /// where 0 log 0 is 0.
  double add_row(std::span<const float> probabilities);
  /// Mean over the rows so far of what each key received.
  std::vector<float> received() const;
  /// (H(K) - mean row entropy) / sqrt(log(queries) H(K)); 0 where all queries look at one key, or
  /// where there is but one query.
  double value() const;

 private:
  std::vector<double> sums_;
  double entropy_ = 0;
  std::int64_t rows_ = 0;
};

/// How far the attention of a layer or head reaches, by its NMI.
enum class AttentionReach { local, hybrid, global };

/// local above `local_above`, global below `global_below`, hybrid between (both ends included).
struct ReachThresholds {
  double local_above = 0.12;
  double global_below = 0.06;
};
AttentionReach reach_of(double nmi, const ReachThresholds& thresholds = {});
const char* reach_name(AttentionReach reach);

/// One block's attention over one picture.
struct AttentionStatistics {
  std::int64_t heads = 0, tokens = 0;
  std::vector<float> class_row;  // [heads, tokens]: what the class token attends to
  std::vector<float> received;   // [heads, tokens]: mean over queries of what each key receives
  std::vector<float> entropy;    // [heads, tokens]: of each query's row, in nats
  std::vector<double> nmi;       // [heads]

  double mean_nmi() const;
};

/// special_tokens: how many tokens at the front (class and distillation) are left out of received,
/// entropy and NMI, as queries and as keys, each remaining row normalised anew; `received` and
/// `entropy` are then 0 for them. 0 counts all tokens. Costs one recomputation of the block's
/// probabilities. Errors: those of attention_scores(), usage (no tokens left), cancelled.
Result<AttentionStatistics> attention_statistics(Context& context, const VitBlockView& block,
                                                 std::int64_t picture,
                                                 std::int64_t special_tokens = 0);

}  // namespace fovea
