#pragma once
// How one attention() call is cut into tasks for the CPU, and what the kernels of either shape
// are told. Cuts depend on shapes alone, never on the number of threads, so that results do not.
//
// All query rows of the query heads that share a kv head see the same keys; they are the "lanes"
// of that kv head, numbered row * group + head within the group. A task covers a block of lanes
// over one range of keys. Logits are kept in units of log2(e): exponentials become powers of two.

#include <cstdint>

#include "kernels/ops/attention/attention.h"

namespace fovea {

inline constexpr double kLog2E = 1.44269504088896341;
inline constexpr double kLn2 = 0.693147180559945309;

struct SequencePlan {
  const KvView* kv;
  const float* key_bias;  // null for none
  std::int64_t first_row;
  std::int64_t rows;
  std::int64_t length;
  std::int64_t group;         // query heads per kv head
  std::int64_t lanes;         // rows * group
  bool few_lanes;             // which kernel runs
  std::int64_t block_lanes;   // lanes of one task
  std::int64_t blocks;        // tasks per kv head and key range
  std::int64_t split_tokens;  // keys of one range; a multiple of kKeyBlock
  std::int64_t splits;        // key ranges
  std::int64_t first_task;    // number of the sequence's first task
  /// [kv heads, splits, lanes, head_dim + kPartialExtra] where splits > 1, else null: outputs that
  /// are not normalised yet, then the maximum and the sum of exponentials.
  float* partials;
};

struct AttentionTask {
  const AttentionArgs& args;
  const SequencePlan& plan;
  std::int64_t kv_head;
  std::int64_t block;
  std::int64_t split;
};

/// Keys that a kernel takes at a time.
inline constexpr std::int64_t kKeyBlock = 64;
inline constexpr std::int64_t kPartialExtra = 2;

/// Keys that a lane sees.
inline std::int64_t visible_keys(MaskKind mask, const SequencePlan& plan, std::int64_t lane) {
  if (mask == MaskKind::full) return plan.length;
  const std::int64_t seen = plan.length - plan.rows + lane / plan.group + 1;
  return seen < 0 ? 0 : seen;
}

/// First channel of a lane in a [rows, heads, head_dim] block.
template <class View>
auto* lane_channels(View view, const AttentionTask& task, std::int64_t lane) {
  const std::int64_t head = task.kv_head * task.plan.group + lane % task.plan.group;
  return view.template row<float>(task.plan.first_row + lane / task.plan.group) +
         head * view.shape[2];
}

/// The tokens of one step of a kernel, and the keys of the step after it, which may be asked for
/// early.
struct TokenBlock {
  std::int64_t count = 0;
  const std::byte* keys[kKeyBlock];
  const std::byte* values[kKeyBlock];
  std::int64_t next_count = 0;
  const std::byte* next_keys[kKeyBlock];
};

/// rows[i] = address of the key of token first + i, for count tokens.
void locate_keys(const KvView& kv, std::int64_t kv_head, std::int64_t first, std::int64_t count,
                 const std::byte** rows);

/// Tokens [first, min(end, first + kKeyBlock)) of a task.
void locate_block(const AttentionTask& task, std::int64_t first, std::int64_t end,
                  TokenBlock* block);

/// Writes the finished lane: channel c is sums[c * stride] / total, lse from maximum and total
/// (log2 units); or stores it as a partial result where the keys are split.
void finish_lane(const AttentionTask& task, std::int64_t lane, const float* sums,
                 std::int64_t stride, float maximum, float total);

}  // namespace fovea
