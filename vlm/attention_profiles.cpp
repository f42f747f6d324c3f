#include "vlm/attention_profiles.h"

#include <algorithm>

#include "kernels/copy.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/rows/rows.h"

namespace fovea {

namespace {

TokenKind kind_of(RowSet rows) {
  return rows == RowSet::visual ? TokenKind::visual : TokenKind::text;
}

}  // namespace

AttentionProfiles::AttentionProfiles(const SequenceLayout& layout, std::vector<Request> requests)
    : layout_(layout), requests_(std::move(requests)), profiles_(requests_.size()) {
  for (std::int32_t position = 0; position < layout.tokens(); ++position) {
    const TokenKind kind = layout.kinds[static_cast<std::size_t>(position)];
    if (std::any_of(requests_.begin(), requests_.end(),
                    [&](const Request& request) { return kind_of(request.rows) == kind; })) {
      rows_.push_back(position);
    }
  }
}

Status AttentionProfiles::observe(Context& context, const LayerAttention& attention) {
  const VisualKeys visual(layout_, attention);
  const bool of_prompt =
      !attention.slots.empty() &&
      static_cast<std::size_t>(attention.slots.back()) < attention.prompt_keys.size();
  if (visual.keys.empty() || !of_prompt) return {};

  const Shape& shape = attention.query.shape;  // [rows, heads, head_dim]
  for (std::size_t r = 0; r < requests_.size(); ++r) {
    const TokenKind kind = kind_of(requests_[r].rows);
    std::vector<std::int32_t> places;
    std::vector<std::int32_t> visible;
    for (std::size_t row = 0; row < attention.slots.size(); ++row) {
      const auto slot = static_cast<std::size_t>(attention.slots[row]);
      const auto position = static_cast<std::size_t>(attention.prompt_keys[slot]);
      if (layout_.kinds[position] != kind) continue;
      places.push_back(static_cast<std::int32_t>(row));
      visible.push_back(attention.slots[row] + 1);
    }
    Workspace::Scope scope(context.workspace);
    const auto count = static_cast<std::int64_t>(places.size());
    FOVEA_TRY(const TensorView query,
              context.workspace.take(Shape{count, shape[1], shape[2]}, DType::f32));
    FOVEA_TRY(const TensorView lse, context.workspace.take(Shape{shape[1], count}, DType::f32));
    FOVEA_TRY(
        const TensorView out,
        context.workspace.take(Shape{static_cast<std::int64_t>(visual.keys.size())}, DType::f32));
    ConstTensorView given = attention.query;
    TensorView chosen = query;
    given.shape = Shape{given.rows(), given.inner_elements()};
    chosen.shape = Shape{count, chosen.inner_elements()};
    FOVEA_CHECK(gather_rows(context, given, places, chosen));
    FOVEA_CHECK(gather_columns(context, attention.lse, places, lse));
    ScoreArgs args;
    args.query = query;
    args.lse = lse;
    args.visible = visible;
    args.kv = attention.kv;
    args.scale = attention.scale;
    args.columns = visual.keys;
    args.rows = requests_[r].row_reduction;
    args.heads = requests_[r].head_reduction;
    args.out = out;
    FOVEA_CHECK(attention_scores(context, args));
    Workspace::Scope host_scope(context.host().workspace);
    FOVEA_TRY(const ConstTensorView found, to_host(context, out));
    std::vector<float> row(layout_.visual.size(), 0.0F);
    for (std::size_t i = 0; i < visual.ids.size(); ++i) {
      row[static_cast<std::size_t>(visual.ids[i])] = found.as<float>()[i];
    }
    auto& layers = profiles_[r];
    const auto layer = static_cast<std::size_t>(attention.layer);
    if (layers.size() <= layer) layers.resize(layer + 1);
    layers[layer] = std::move(row);
  }
  return {};
}

}  // namespace fovea
