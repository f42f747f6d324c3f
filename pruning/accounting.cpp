#include "pruning/accounting.h"

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

double layer_flops(const BudgetShape& shape, double tokens) {
  const double query_width = static_cast<double>(shape.heads) * shape.head_dim;
  const double kv_width = static_cast<double>(shape.kv_heads) * shape.head_dim;
  const double projections = 2.0 * tokens * shape.hidden * (query_width + 2.0 * kv_width) +
                             2.0 * tokens * query_width * shape.hidden;
  const double attention = 2.0 * tokens * tokens * query_width;
  const double mlp = 6.0 * tokens * shape.hidden * shape.intermediate;
  return projections + attention + mlp;
}

}  // namespace

BudgetReport account(const PruningRecord& record, const BudgetShape& shape,
                     std::int64_t text_tokens) {
  BudgetReport report;
  std::int64_t present = record.initial;
  std::size_t next_stage = 0;
  const auto& stages = record.stages;
  // Stages that act before any layer (embeddings, vision tower) come first in the record.
  while (next_stage < stages.size() && (stages[next_stage].when == Hook::embeddings ||
                                        stages[next_stage].when == Hook::vit_block)) {
    present = static_cast<std::int64_t>(stages[next_stage++].kept.size());
  }
  double equivalent = 0, entering = 0;
  for (int layer = 0; layer < shape.layers; ++layer) {
    while (next_stage < stages.size() && stages[next_stage].layer == layer &&
           stages[next_stage].when == Hook::before_layer) {
      present = static_cast<std::int64_t>(stages[next_stage++].kept.size());
    }
    const std::int64_t enters = present;
    report.entering.push_back(enters);
    entering += static_cast<double>(enters);
    while (next_stage < stages.size() && stages[next_stage].layer == layer) {
      present = static_cast<std::int64_t>(stages[next_stage++].kept.size());
    }
    equivalent += static_cast<double>(present);

    const std::int64_t kv_token_bytes =
        2 * shape.kv_heads * shape.head_dim * shape.kv_element_bytes;
    report.kv_bytes += (enters + text_tokens) * kv_token_bytes;
    report.kv_bytes_unpruned += (record.initial + text_tokens) * kv_token_bytes;
    report.prefill_flops += layer_flops(shape, static_cast<double>(enters + text_tokens));
    report.prefill_flops_unpruned +=
        layer_flops(shape, static_cast<double>(record.initial + text_tokens));
  }
  if (shape.layers > 0) {
    report.equivalent = equivalent / shape.layers;
    report.entering_mean = entering / shape.layers;
  }
  return report;
}

}  // namespace fovea
