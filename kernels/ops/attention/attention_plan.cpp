#include "kernels/ops/attention/attention_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fovea {
namespace {

/// rows[i] = address of token first + i of the kv head, for count tokens.
void locate_tokens(const KvView& kv, const std::byte* const* pages, std::int64_t head_offset,
                   std::int64_t token_stride, std::int64_t first, std::int64_t count,
                   const std::byte** rows) {
  const auto bytes = static_cast<std::int64_t>(dtype_size(kv.dtype));
  head_offset *= bytes;
  token_stride *= bytes;
  std::int64_t slot = first % kv.page_tokens;
  for (std::int64_t page = first / kv.page_tokens; count > 0; ++page, slot = 0) {
    const std::int64_t here = std::min<std::int64_t>(count, kv.page_tokens - slot);
    const std::byte* token = pages[page] + head_offset + slot * token_stride;
    for (std::int64_t i = 0; i < here; ++i) rows[i] = token + i * token_stride;
    rows += here;
    count -= here;
  }
}

}  // namespace

void locate_keys(const KvView& kv, std::int64_t kv_head, std::int64_t first, std::int64_t count,
                 const std::byte** rows) {
  locate_tokens(kv, kv.key_pages, kv_head * kv.key_head_stride, kv.key_token_stride, first, count,
                rows);
}

void locate_block(const AttentionTask& task, std::int64_t first, std::int64_t end,
                  TokenBlock* block) {
  const KvView& kv = *task.plan.kv;
  block->count = std::min(kKeyBlock, end - first);
  block->next_count = std::min(kKeyBlock, end - first - block->count);
  locate_keys(kv, task.kv_head, first, block->count, block->keys);
  locate_keys(kv, task.kv_head, first + block->count, block->next_count, block->next_keys);
  locate_tokens(kv, kv.value_pages, task.kv_head * kv.value_head_stride, kv.value_token_stride,
                first, block->count, block->values);
}

void finish_lane(const AttentionTask& task, std::int64_t lane, const float* sums,
                 std::int64_t stride, float maximum, float total) {
  const SequencePlan& plan = task.plan;
  const std::int64_t channels = task.args.query.shape[2];
  if (plan.splits > 1) {
    const std::int64_t place = (task.kv_head * plan.splits + task.split) * plan.lanes + lane;
    float* partial = plan.partials + place * (channels + kPartialExtra);
    for (std::int64_t c = 0; c < channels; ++c) partial[c] = sums[c * stride];
    partial[channels] = maximum;
    partial[channels + 1] = total;
    return;
  }
  float* out = lane_channels(task.args.out, task, lane);
  const bool saw_nothing = total == 0.0f;  // NaN is not nothing
  const float inverse = saw_nothing ? 0.0f : 1.0f / total;
  for (std::int64_t c = 0; c < channels; ++c) out[c] = sums[c * stride] * inverse;
  if (task.args.lse.empty()) return;
  const std::int64_t head = task.kv_head * plan.group + lane % plan.group;
  task.args.lse.row<float>(head)[plan.first_row + lane / plan.group] =
      saw_nothing ? -std::numeric_limits<float>::infinity()
                  : static_cast<float>((maximum + std::log2(static_cast<double>(total))) * kLn2);
}

}  // namespace fovea
