#pragma once
// What pruning saved, counted the same way for every method.

#include <cstdint>
#include <string>
#include <vector>

#include "pruning/policy.h"

namespace fovea {

/// One stage as it happened.
struct StageRecord {
  Hook when = Hook::before_layer;
  int layer = 0;
  std::vector<std::int32_t> kept;  // ids of the visual tokens that survive as they are, ascending
  /// One entry for each merged token present after the stage, in sequence order: the ids of all the
  /// visual tokens in it, ascending.
  std::vector<std::vector<std::int32_t>> sources;
  /// Nothing left the sequence: the tokens not kept skipped the layer's attention.
  bool bypass = false;
  /// What scoring and choosing took: the price of the method itself. What it moves is not in it.
  double select_ms = 0;

  /// Visual tokens after the stage.
  std::int64_t tokens() const { return static_cast<std::int64_t>(kept.size() + sources.size()); }
};
const char* hook_name(Hook hook);  // as in JSON: embeddings, vit, before, attention, after

struct PruningRecord {
  std::int64_t initial = 0;  // visual tokens before the first stage
  PositionMode positions = PositionMode::original;
  std::vector<StageRecord> stages;
};

struct BudgetReport {
  /// Mean over layers of the visual tokens left after each layer's own cut (of those that took part
  /// in its attention where the others bypassed it), as papers count.
  double equivalent = 0;
  /// Mean over layers of the visual tokens that enter each layer: what is really paid.
  double entering_mean = 0;
  std::vector<std::int64_t> entering;  // visual tokens per layer
  std::int64_t kv_bytes = 0, kv_bytes_unpruned = 0;
  double prefill_flops = 0, prefill_flops_unpruned = 0;
};

struct BudgetShape {
  int layers = 0;
  std::int64_t hidden = 0, intermediate = 0;
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t kv_element_bytes = 4;
};

/// text_tokens: prompt tokens that are not visual. FLOPs count a multiply-add as two: query, key
/// and value (2 n d (h d_h + 2 h_kv d_h)) of the n tokens that enter a layer, causal attention and
/// its output (2 a^2 h d_h + 2 a h d_h d) of the a that take part in it, SwiGLU (6 m d d_m) of the
/// m that reach it.
BudgetReport account(const PruningRecord& record, const BudgetShape& shape,
                     std::int64_t text_tokens);

}  // namespace fovea
