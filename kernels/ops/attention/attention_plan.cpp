#include "kernels/ops/attention/attention_plan.h"

#include <cmath>
#include <limits>

namespace fovea {
namespace {

std::int64_t element_bytes(const KvView& kv) {
  return static_cast<std::int64_t>(dtype_size(kv.dtype));
}

}  // namespace

PageLayout key_layout(const KvView& kv, std::int64_t kv_head) {
  return {kv.key_pages, kv.page_tokens, kv_head * kv.key_head_stride * element_bytes(kv),
          kv.key_token_stride * element_bytes(kv)};
}

PageLayout value_layout(const KvView& kv, std::int64_t kv_head) {
  return {kv.value_pages, kv.page_tokens, kv_head * kv.value_head_stride * element_bytes(kv),
          kv.value_token_stride * element_bytes(kv)};
}

void locate_tokens(const PageLayout& layout, std::int64_t first, std::int64_t count,
                   const std::byte** rows) {
  std::int64_t page = first / layout.page_tokens;
  std::int64_t slot = first % layout.page_tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    rows[i] = layout.pages[page] + layout.head_offset + slot * layout.token_stride;
    if (++slot == layout.page_tokens) {
      slot = 0;
      ++page;
    }
  }
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
