#pragma once
// Softmax attention that never stores the [rows, keys] matrix, and the statistics of it that
// pruning and attention maps need, recomputed from query, key and log-sum-exp for chosen rows and
// columns only.

#include <span>

#include "kernels/context.h"
#include "kernels/ops/attention/kv_view.h"

namespace fovea {

enum class MaskKind {
  full,    // every row sees every key
  causal,  // of n rows over `length` keys, row r sees keys 0 .. length - n + r
};

struct AttentionArgs {
  /// [rows, heads, head_dim] f32, on a GPU f32, f16 or bf16: the rows of all sequences, one after
  /// another.
  ConstTensorView query;
  /// Row range of each sequence: sequence s owns rows [row_offsets[s], row_offsets[s + 1]).
  std::span<const std::int32_t> row_offsets;
  /// One per sequence. heads is a multiple of kv_heads; head h reads kv head h / (heads /
  /// kv_heads).
  std::span<const KvView> kv;
  MaskKind mask = MaskKind::causal;
  float scale = 1.0f;  // multiplies q.k before the softmax
  /// Optional, one pointer per sequence (or an empty span): f32 [length], added to the scaled logit
  /// of every row (proportional attention of merged tokens, biases of debiasing methods).
  std::span<const float* const> key_bias;
  TensorView out;  // as query; on a GPU its type may differ
  /// [heads, rows] f32, natural logarithm, scale and bias included; empty when nobody asks.
  TensorView lse;
  /// Of the keys and values, only the newest token's of each sequence may be the work of launches
  /// that still run when this one begins: of a recorded graph, all of the same graph. A GPU then
  /// reads the others while it waits for the query.
  bool history_settled = false;
};

/// A row that sees no key (or only keys whose bias is -infinity) gets zeros and lse = -infinity.
/// The result does not depend on the number of threads. Arithmetic is float32; on a GPU, where query,
/// keys, values and out are of one 16-bit type, the tensor cores multiply and probabilities are
/// rounded to that type before they weigh the values. There head_dim is at most 256, and with one row
/// a sequence the launch depends on max_length not at all, so that it may be recorded in a graph.
/// Errors: usage when shapes disagree or a page is missing, unsupported (head_dim on a GPU),
/// out_of_memory for scratch, device.
Status attention(Context& context, const AttentionArgs& args);

enum class Reduction { none, sum, mean, max };

struct ScoreArgs {
  ConstTensorView query;  // as in AttentionArgs: only the rows asked for
  ConstTensorView lse;    // [heads, rows] f32, of the same rows
  /// Row r sees keys [0, visible[r]); later columns have probability 0. Empty: all keys.
  std::span<const std::int32_t> visible;
  KvView kv;
  float scale = 1.0f;
  const float* key_bias = nullptr;        // as given to attention()
  std::span<const std::int32_t> columns;  // key indices asked for, ascending
  /// Multiplies every probability before reduction: [rows] (all heads alike) or [heads, rows];
  /// empty for 1.
  ConstTensorView row_weights;
  Reduction rows = Reduction::none;
  Reduction heads = Reduction::none;  // applied after `rows`, except max: see below
  /// f32 [heads or nothing, rows or nothing, columns]: an axis that is reduced is absent. With
  /// heads = max the maximum over heads is taken per (row, column) before rows are reduced, as
  /// FitPrune needs (methods paper arXiv 2409.10197).
  TensorView out;
};

/// P[h, r, c] = exp(scale * q.k + bias - lse), reduced in float32. Rows of weight 0, and rows whose
/// lse is -infinity, count as probability 0. Reductions over no rows give 0. kv needs no values.
/// The result does not depend on the number of threads. Errors as for attention().
Status attention_scores(Context& context, const ScoreArgs& args);

}  // namespace fovea
