#include "vlm/decoder_trace.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/copy.h"
#include "kernels/device.h"
#include "kernels/ops/attention/attention.h"

namespace fovea {

Result<std::vector<float>> DecoderTrace::visual_map(Context& context, int layer, int token) const {
  if (model_->device() == context.device) return map_of(context, layer, token);
  FOVEA_TRY(Context there, make_context(model_->device(), context.threads));
  return map_of(there, layer, token);
}

Result<std::vector<float>> DecoderTrace::map_of(Context& context, int layer, int token) const {
  if (layer < 0 || layer >= layers() || token < 0 || token >= tokens()) {
    return make_error(ErrorCode::usage, "no attention row for layer " + std::to_string(layer) +
                                            ", answer token " + std::to_string(token));
  }
  const DecoderConfig& config = model_->config().decoder;
  const TracedRow& row = rows_[static_cast<std::size_t>(token)];
  const auto index = static_cast<std::size_t>(layer);
  const auto& survivors = state_.survivors[static_cast<std::size_t>(state_.survivor_list[index])];

  std::vector<std::int32_t> columns, ids;
  for (std::size_t slot = 0; slot < survivors.size(); ++slot) {
    const std::int32_t id = layout_.visual_ids[static_cast<std::size_t>(survivors[slot])];
    const auto& attending = row.attending[index];
    const bool bypassed =
        !attending.empty() && slot < static_cast<std::size_t>(row.visible[index]) &&
        !std::binary_search(attending.begin(), attending.end(), static_cast<std::int32_t>(slot));
    if (id < 0 || bypassed) continue;
    columns.push_back(static_cast<std::int32_t>(slot));
    ids.push_back(id);
  }

  const std::int64_t visual = layout_.id_count();
  std::vector<float> map(static_cast<std::size_t>(config.heads * visual),
                         std::numeric_limits<float>::quiet_NaN());
  if (columns.empty()) return map;

  Workspace::Scope scope(context.workspace);
  const auto count = static_cast<std::int64_t>(columns.size());
  FOVEA_TRY(const TensorView out, context.workspace.take(Shape{config.heads, count}, DType::f32));
  const std::size_t query_size = static_cast<std::size_t>(config.heads * config.head_dim);
  ScoreArgs args;
  FOVEA_TRY(args.query,
            to_device(context,
                      ConstTensorView(
                          reinterpret_cast<const std::byte*>(row.query.data() + index * query_size),
                          DType::f32, Shape{1, config.heads, config.head_dim})));
  FOVEA_TRY(args.lse,
            to_device(context, ConstTensorView(reinterpret_cast<const std::byte*>(
                                                   row.lse.data() +
                                                   index * static_cast<std::size_t>(config.heads)),
                                               DType::f32, Shape{config.heads, 1})));
  FOVEA_CHECK(state_.cache.prepare(context));
  const std::array visible{row.visible[index]};
  args.visible = visible;
  args.kv = state_.cache.view(layer);
  args.scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  args.columns = columns;
  args.rows = Reduction::sum;
  args.out = out;
  FOVEA_CHECK(attention_scores(context, args));
  Workspace::Scope host_scope(context.host().workspace);
  FOVEA_TRY(const ConstTensorView found, to_host(context, out));
  for (std::int64_t head = 0; head < config.heads; ++head) {
    for (std::int64_t i = 0; i < count; ++i) {
      map[static_cast<std::size_t>(head * visual + ids[static_cast<std::size_t>(i)])] =
          found.row<float>(head)[i];
    }
  }
  return map;
}

}  // namespace fovea
