#include "pruning/accounting.h"

#include <algorithm>

namespace fovea {

const char* hook_name(Hook hook) {
  switch (hook) {
    case Hook::embeddings:
      return "embeddings";
    case Hook::vit_block:
      return "vit";
    case Hook::before_layer:
      return "before";
    case Hook::after_attention:
      return "attention";
    case Hook::after_layer:
      return "after";
  }
  return "before";
}

namespace {

/// n tokens enter, `attending` take part in the attention, `mlp` go on to the MLP.
double layer_flops(const BudgetShape& shape, double n, double attending, double mlp) {
  const double query_width = static_cast<double>(shape.heads) * shape.head_dim;
  const double kv_width = static_cast<double>(shape.kv_heads) * shape.head_dim;
  const double query_key_value = 2.0 * n * shape.hidden * (query_width + 2.0 * kv_width);
  const double attention = 2.0 * attending * attending * query_width;
  const double output = 2.0 * attending * query_width * shape.hidden;
  return query_key_value + attention + output + 6.0 * mlp * shape.hidden * shape.intermediate;
}

}  // namespace

BudgetReport account(const PruningRecord& record, const BudgetShape& shape,
                     std::int64_t text_tokens) {
  BudgetReport report;
  std::int64_t present = record.initial;
  double equivalent = 0, entering = 0;
  auto stage = record.stages.begin();
  const auto cut_while = [&](auto acts) {
    for (; stage != record.stages.end() && acts(*stage); ++stage) present = stage->tokens();
  };
  cut_while(
      [](const StageRecord& s) { return s.when == Hook::embeddings || s.when == Hook::vit_block; });
  for (int layer = 0; layer < shape.layers; ++layer) {
    const auto acts_here = [&](Hook when) {
      return [=](const StageRecord& s) { return s.layer == layer && s.when == when && !s.bypass; };
    };
    cut_while(acts_here(Hook::before_layer));
    const std::int64_t enters = present;
    std::int64_t attending = enters;
    if (stage != record.stages.end() && stage->layer == layer && stage->bypass) {
      attending = (stage++)->tokens();
    }
    cut_while(acts_here(Hook::after_attention));
    const std::int64_t mlp = present;
    cut_while(acts_here(Hook::after_layer));

    report.entering.push_back(enters);
    entering += static_cast<double>(enters);
    equivalent += static_cast<double>(std::min(attending, present));
    const std::int64_t kv_token_bytes =
        2 * shape.kv_heads * shape.head_dim * shape.kv_element_bytes;
    report.kv_bytes += (enters + text_tokens) * kv_token_bytes;
    report.kv_bytes_unpruned += (record.initial + text_tokens) * kv_token_bytes;
    const auto with_text = [&](std::int64_t visual) {
      return static_cast<double>(visual + text_tokens);
    };
    report.prefill_flops +=
        layer_flops(shape, with_text(enters), with_text(attending), with_text(mlp));
    const double unpruned = with_text(record.initial);
    report.prefill_flops_unpruned += layer_flops(shape, unpruned, unpruned, unpruned);
  }
  if (shape.layers > 0) {
    report.equivalent = equivalent / shape.layers;
    report.entering_mean = entering / shape.layers;
  }
  return report;
}

}  // namespace fovea
