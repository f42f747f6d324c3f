#pragma once
// Watching a decoder's attention while it runs: a layer at a time, for chosen rows, without any
// map being stored.

#include <span>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/attention/kv_view.h"
#include "pruning/visual_token.h"

namespace fovea {

/// Rows of one layer's attention. Views are valid during the call only.
struct LayerAttention {
  int layer = 0;
  ConstTensorView query;  // [rows, heads, head_dim] f32, rotated
  ConstTensorView lse;    // [heads, rows] f32
  KvView kv;              // of this layer
  float scale = 1.0f;
  /// Per row: which key of `kv` is its own; the row sees the keys up to it.
  std::span<const std::int32_t> slots;
  /// Prompt position of each of the first keys; keys after them belong to answer tokens.
  std::span<const std::int32_t> prompt_keys;
};

/// Which of the keys are visual tokens, and their ids, key by key.
struct VisualKeys {
  VisualKeys(const SequenceLayout& layout, const LayerAttention& attention);

  std::vector<std::int32_t> keys, ids;
};

class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  /// Prompt positions whose rows it wants to see in a prefill, ascending.
  virtual std::span<const std::int32_t> prompt_rows() const = 0;
  /// Called for every layer, of a prefill with the wanted rows (and perhaps others), of a decode
  /// step with its one row.
  virtual Status observe(Context& context, const LayerAttention& attention) = 0;
};

}  // namespace fovea
