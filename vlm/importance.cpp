#include "vlm/importance.h"

#include <algorithm>
#include <bit>

#include "kernels/ops/attention/attention.h"

namespace fovea {

namespace {

/// Before the host waits for what has been asked, so that pinned memory stays bounded.
constexpr std::size_t kMostParts = 64;

}  // namespace

Importance::Importance(const SequenceLayout& layout, RowSet rows)
    : layout_(layout), sums_(layout.visual.size(), 0.0F) {
  std::int32_t last_visual = -1;
  for (std::int32_t position = 0; position < layout.tokens(); ++position) {
    const TokenKind kind = layout.kinds[static_cast<std::size_t>(position)];
    if (kind == TokenKind::text) rows_.push_back(position);
    if (kind == TokenKind::visual) last_visual = position;
  }
  if (rows == RowSet::from_last_visual) {
    rows_.clear();
    if (last_visual < 0) return;
    for (std::int32_t position = last_visual; position < layout.tokens(); ++position) {
      rows_.push_back(position);
    }
  }
}

Status Importance::observe(Context& context, const LayerAttention& attention) {
  const VisualKeys visual(layout_, attention);
  if (visual.keys.empty()) return {};

  const auto counts = [&](std::size_t row) {
    const auto slot = static_cast<std::size_t>(attention.slots[row]);
    return slot >= attention.prompt_keys.size() ||
           std::binary_search(rows_.begin(), rows_.end(), attention.prompt_keys[slot]);
  };
  // Rows that count and follow each other are read where they lie.
  for (std::size_t begin = 0; begin < attention.slots.size();) {
    std::size_t end = begin;
    while (end < attention.slots.size() && counts(end)) ++end;
    if (end == begin) {
      ++begin;
      continue;
    }
    Workspace::Scope scope(context.workspace);
    const auto first = static_cast<std::int64_t>(begin);
    const auto rows = static_cast<std::int64_t>(end - begin);
    std::vector<std::int32_t> visible;
    for (std::size_t row = begin; row < end; ++row) visible.push_back(attention.slots[row] + 1);
    FOVEA_TRY(
        const TensorView out,
        context.workspace.take(Shape{static_cast<std::int64_t>(visual.keys.size())}, DType::f32));
    ScoreArgs args;
    args.query = attention.query.slice(first, rows);
    args.lse = attention.lse;  // of these rows: a stretch of every head's row
    args.lse.data += static_cast<std::size_t>(first) * sizeof(float);
    args.lse.shape[1] = rows;
    args.visible = visible;
    args.kv = attention.kv;
    args.scale = attention.scale;
    args.columns = visual.keys;
    args.rows = Reduction::sum;
    args.heads = Reduction::sum;
    args.out = out;
    FOVEA_CHECK(attention_scores(context, args));
    const ConstTensorView bits(out.data, DType::i32, out.shape, out.device);
    Part& part = parts_.emplace_back();
    part.ids = visual.ids;
    FOVEA_TRY(part.probabilities, Arriving::start(context, bits));
    if (parts_.size() >= kMostParts) FOVEA_CHECK(add_parts());
    begin = end;
  }
  return {};
}

Status Importance::add_parts() {
  for (const Part& part : parts_) {
    FOVEA_TRY(const auto found, part.probabilities.wait());
    for (std::size_t i = 0; i < part.ids.size(); ++i) {
      sums_[static_cast<std::size_t>(part.ids[i])] += std::bit_cast<float>(found[i]);
    }
  }
  parts_.clear();
  return {};
}

Result<std::vector<float>> Importance::sums() {
  FOVEA_CHECK(add_parts());
  return sums_;
}

}  // namespace fovea
