#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "kernels/base/parallel.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/attention/attention_checks.h"
#include "kernels/ops/attention/attention_kernels.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/attention/attention_cuda.h"
#endif

namespace fovea {
namespace {

// Key ranges of a sequence whose lanes fit one task: a quarter thousand keys are enough work to
// hide the cost of merging; more than 64 ranges occupy no further core.
constexpr std::int64_t kSplitTokens = 256;
constexpr std::int64_t kMostSplits = 64;
// Multiply-adds below which a second thread costs more than it brings.
constexpr std::int64_t kWorkPerThread = 100'000;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

SequencePlan plan_sequence(const AttentionArgs& args, std::size_t s, const ManyLanesKernel& many,
                           const FewLanesKernel& few) {
  SequencePlan plan{};
  plan.kv = &args.kv[s];
  plan.key_bias = args.key_bias.empty() ? nullptr : args.key_bias[s];
  plan.first_row = args.row_offsets[s];
  plan.rows = args.row_offsets[s + 1] - plan.first_row;
  plan.length = *plan.kv->length;
  plan.group = args.query.shape[1] / plan.kv->kv_heads;
  plan.lanes = plan.rows * plan.group;
  plan.few_lanes = plan.lanes <= few.most_lanes;
  plan.block_lanes = plan.few_lanes ? std::max<std::int64_t>(plan.lanes, 1) : many.block_lanes;
  plan.blocks = ceil_div(plan.lanes, plan.block_lanes);
  plan.splits = 1;
  plan.split_tokens = std::max<std::int64_t>(plan.length, 1);
  if (plan.blocks == 1) {
    const std::int64_t even = ceil_div(ceil_div(plan.length, kMostSplits), kKeyBlock) * kKeyBlock;
    plan.split_tokens = std::max(kSplitTokens, even);
    plan.splits = std::max<std::int64_t>(1, ceil_div(plan.length, plan.split_tokens));
  }
  return plan;
}

/// Numbers of tasks and sizes of scratch over all sequences.
struct Totals {
  std::int64_t tasks = 0;
  std::int64_t work = 0;            // multiply-adds
  std::int64_t scratch_floats = 1;  // per worker
  std::int64_t partial_floats = 0;
  std::int64_t merges = 0;  // lanes to merge
};

/// Fills in the first task of every plan.
Totals total_up(std::span<SequencePlan> plans, std::int64_t channels, const ManyLanesKernel& many,
                const FewLanesKernel& few) {
  Totals totals;
  for (SequencePlan& plan : plans) {
    const std::int64_t kv_heads = plan.kv->kv_heads;
    plan.first_task = totals.tasks;
    totals.tasks += kv_heads * plan.blocks * plan.splits;
    totals.work += kv_heads * plan.lanes * plan.length * channels * 2;
    if (plan.lanes == 0) continue;
    const std::int64_t scratch =
        plan.few_lanes ? few.scratch_floats(plan.lanes, channels) : many.scratch_floats(channels);
    totals.scratch_floats = std::max(totals.scratch_floats, scratch);
    if (plan.splits == 1) continue;
    const std::int64_t lanes = kv_heads * plan.lanes;
    totals.partial_floats += lanes * plan.splits * (channels + kPartialExtra);
    totals.merges += lanes;
  }
  return totals;
}

/// Task numbers run over kv heads, then key ranges, then lane blocks: neighbours share keys. The
/// last rows of a causal sequence see the most keys and come first, so that no thread is left with
/// a long task at the end.
AttentionTask find_task(const AttentionArgs& args, std::span<const SequencePlan> plans,
                        std::int64_t number) {
  const auto after = std::upper_bound(
      plans.begin(), plans.end(), number,
      [](std::int64_t n, const SequencePlan& plan) { return n < plan.first_task; });
  const SequencePlan& plan = *(after - 1);
  const std::int64_t within = number - plan.first_task;
  const std::int64_t per_head = plan.blocks * plan.splits;
  return {args, plan, within / per_head, plan.blocks - 1 - within % plan.blocks,
          within % per_head / plan.blocks};
}

/// Adds up the partial results of one lane, always in the order of the keys.
void merge_lane(const AttentionArgs& args, const SequencePlan& plan, std::int64_t kv_head,
                std::int64_t lane) {
  const std::int64_t channels = args.query.shape[2];
  const auto partial = [&](std::int64_t split) {
    return plan.partials +
           ((kv_head * plan.splits + split) * plan.lanes + lane) * (channels + kPartialExtra);
  };
  float maximum = -std::numeric_limits<float>::infinity();
  for (std::int64_t split = 0; split < plan.splits; ++split) {
    const float other = partial(split)[channels];
    // A NaN is kept: it must reach the output.
    if (other > maximum || std::isnan(other)) maximum = other;
  }
  const float shift = std::isinf(maximum) ? 0.0f : maximum;
  float* sums = partial(0);
  float total = 0.0f;
  for (std::int64_t split = 0; split < plan.splits; ++split) {
    const float* from = partial(split);
    const float weight = std::exp2(from[channels] - shift);
    total += from[channels + 1] * weight;
    for (std::int64_t c = 0; c < channels; ++c) {
      sums[c] = (split == 0 ? 0.0f : sums[c]) + from[c] * weight;
    }
  }
  SequencePlan whole = plan;
  whole.splits = 1;
  finish_lane({args, whole, kv_head, 0, 0}, lane, sums, 1, maximum, total);
}

void merge_sequence(const AttentionArgs& args, const SequencePlan& plan, int threads) {
  const std::int64_t count = plan.kv->kv_heads * plan.lanes;
  parallel_for(threads, count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      merge_lane(args, plan, i / plan.lanes, i % plan.lanes);
    }
  });
}

int useful_threads(const Context& context, std::int64_t work) {
  return static_cast<int>(
      std::clamp<std::int64_t>(work / kWorkPerThread, 1, std::max(context.threads, 1)));
}

}  // namespace

Status attention(Context& context, const AttentionArgs& args) {
  FOVEA_CHECK(check_attention(context, args));
#ifdef FOVEA_WITH_CUDA
  if (context.device.kind == DeviceKind::cuda) return attention_cuda(context, args);
#endif
  const std::int64_t channels = args.query.shape[2];
  const auto count = static_cast<std::int64_t>(args.kv.size());
  const ManyLanesKernel many = many_lanes_kernel();
  const FewLanesKernel few = few_lanes_kernel();

  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView plan_bytes,
            context.workspace.take({std::max<std::int64_t>(count, 1) *
                                    static_cast<std::int64_t>(sizeof(SequencePlan))},
                                   DType::u8));
  const std::span<SequencePlan> plans(plan_bytes.as<SequencePlan>(), args.kv.size());
  for (std::size_t s = 0; s < args.kv.size(); ++s) plans[s] = plan_sequence(args, s, many, few);
  const Totals totals = total_up(plans, channels, many, few);
  if (totals.tasks == 0) return {};

  const int threads = useful_threads(context, totals.work);
  const int workers = static_cast<int>(std::min<std::int64_t>(threads, totals.tasks));
  FOVEA_TRY(
      const TensorView scratch,
      context.workspace.take({workers, ceil_div(totals.scratch_floats, 16) * 16}, DType::f32));
  FOVEA_TRY(const TensorView partials, context.workspace.take({totals.partial_floats}, DType::f32));
  float* partial = partials.as<float>();
  for (SequencePlan& plan : plans) {
    if (plan.splits == 1) continue;
    plan.partials = partial;
    partial += plan.kv->kv_heads * plan.lanes * plan.splits * (channels + kPartialExtra);
  }

  // Workers draw tasks: causal tasks differ in length, and other programs may slow a core.
  std::atomic<std::int64_t> next{0};
  parallel_for(workers, workers, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t worker = begin; worker < end; ++worker) {
      for (std::int64_t number = next++; number < totals.tasks; number = next++) {
        const AttentionTask task = find_task(args, plans, number);
        (task.plan.few_lanes ? few.run : many.run)(task, scratch.row<float>(worker));
      }
    }
  });
  for (const SequencePlan& plan : plans) {
    if (plan.splits > 1) {
      merge_sequence(args, plan, useful_threads(context, plan.lanes * plan.splits * channels));
    }
  }
  return {};
}

}  // namespace fovea
