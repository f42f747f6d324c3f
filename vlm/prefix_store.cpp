#include "vlm/prefix_store.h"

#include <utility>

namespace fovea {

std::int64_t shareable_tokens(const SequenceLayout& layout, const PruningPlan* plan, int boundary) {
  const std::int64_t all_but_last = layout.tokens() - 1;
  if (plan == nullptr || plan->stages.empty()) return all_but_last;
  if (boundary == 0) return 0;
  const auto first_of = [&](TokenKind kind) {
    const auto found = std::find(layout.kinds.begin(), layout.kinds.end(), kind);
    return static_cast<std::int64_t>(found - layout.kinds.begin());
  };
  std::int64_t last_visual = -1;
  for (std::int64_t i = 0; i < layout.tokens(); ++i) {
    if (layout.kinds[static_cast<std::size_t>(i)] == TokenKind::visual) last_visual = i;
  }
  // Another question differs after the last picture.
  std::int64_t limit = std::min(all_but_last, last_visual + 1);
  for (const Stage& stage : plan->stages) {
    // The layers from the boundary on run for every row.
    const bool before_boundary =
        (stage.when == Hook::after_layer && stage.layer < boundary) ||
        (stage.attention == AttentionSource::previous_layer && stage.layer <= boundary);
    if (!before_boundary) continue;
    for (const RowSet rows : stage.rows) {
      if (rows == RowSet::visual) limit = std::min(limit, first_of(TokenKind::visual));
      if (rows == RowSet::text) limit = std::min(limit, first_of(TokenKind::text));
      if (rows == RowSet::from_last_visual) limit = std::min(limit, last_visual);
    }
  }
  return std::max<std::int64_t>(limit, 0);
}

void PrefixStore::keep(std::vector<std::uint64_t> keys, DecoderPrefix prefix, int layers) {
  keys.resize(static_cast<std::size_t>(prefix.tokens));
  const bool any_length = prefix.boundary == layers;
  saved_ = Saved{std::move(keys), std::move(prefix), any_length};
}

const DecoderPrefix* PrefixStore::find(std::span<const std::uint64_t> keys, std::int64_t limit,
                                       int boundary) {
  if (!saved_ || saved_->prefix.boundary != boundary) return nullptr;
  const std::size_t most = std::min(keys.size(), saved_->keys.size());
  const auto differs = std::mismatch(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(most),
                                     saved_->keys.begin());
  const std::int64_t common = std::min<std::int64_t>(differs.first - keys.begin(), limit);
  if (common <= 0) return nullptr;
  if (saved_->any_length) {
    for (int layer = 0; layer < saved_->prefix.cache.layers(); ++layer) {
      saved_->prefix.cache.truncate(layer, static_cast<std::int32_t>(common));
    }
    saved_->prefix.tokens = common;
    saved_->keys.resize(static_cast<std::size_t>(common));
  }
  return common >= saved_->prefix.tokens ? &saved_->prefix : nullptr;
}

}  // namespace fovea
