#include "vlm/batch_block.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/rows/rows.h"

namespace fovea {

namespace {

/// [rows, heads, head_dim] as [rows, heads * head_dim].
template <class View>
View flat(View view) {
  view.shape = Shape{view.rows(), view.inner_elements()};
  return view;
}

std::vector<std::int32_t> last_rows_of(std::span<const BatchPart> parts) {
  std::vector<std::int32_t> rows;
  for (const BatchPart& part : parts) {
    rows.push_back(static_cast<std::int32_t>(part.first + part.rows - 1));
  }
  return rows;
}

/// The rows that a part keeps, among all rows: its slots count from the cache's first key.
std::vector<std::int32_t> kept_rows(const BatchPart& part, std::int32_t keys_before) {
  std::vector<std::int32_t> rows = part.kept->slots;
  for (std::int32_t& row : rows) row += static_cast<std::int32_t>(part.first) - keys_before;
  return rows;
}

}  // namespace

Status gather_last_rows(Context& context, ConstTensorView hidden, std::span<const BatchPart> parts,
                        TensorView last) {
  return gather_rows(context, hidden, last_rows_of(parts), last);
}

Status attend_batch(Context& context, const DecoderConfig& config, const DecoderBlock& block,
                    const BlockProjection& projection, TensorView hidden, int layer,
                    std::span<const BatchPart> parts, bool last_rows) {
  std::vector<std::vector<std::int32_t>> kept(parts.size());
  std::vector<KvCache*> caches;
  std::vector<std::int64_t> rows;
  bool shows = false;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const BatchPart& part = parts[i];
    if (part.kept != nullptr) {
      shows = true;
      kept[i] = kept_rows(part, part.cache->length(layer));
      FOVEA_CHECK(gather_rows(context, flat(projection.query), kept[i], flat(part.kept->query)));
    }
    caches.push_back(part.cache);
    rows.push_back(part.rows);
  }
  FOVEA_CHECK(KvCache::append_all(context, layer, caches, rows, projection.key, projection.value));

  Workspace::Scope scope(context.workspace);
  TensorView query = projection.query;
  std::vector<std::int32_t> offsets{0};
  for (const BatchPart& part : parts) {
    offsets.push_back(offsets.back() + static_cast<std::int32_t>(last_rows ? 1 : part.rows));
  }
  const Shape shape{hidden.rows(), config.heads, config.head_dim};
  if (last_rows) {
    FOVEA_TRY(query, context.workspace.take(shape, query.dtype));
    FOVEA_CHECK(gather_rows(context, flat(projection.query), last_rows_of(parts), flat(query)));
  }
  std::vector<KvView> views;
  for (const BatchPart& part : parts) views.push_back(part.cache->view(layer));
  FOVEA_TRY(const TensorView mixed, context.workspace.take(shape, block.activations));
  AttentionArgs args;
  args.query = query;
  args.row_offsets = offsets;
  args.kv = views;
  args.mask = MaskKind::causal;
  args.scale = attention_scale(config);
  args.out = mixed;
  if (shows) {
    FOVEA_TRY(args.lse, context.workspace.take(Shape{config.heads, shape[0]}, DType::f32));
  }
  FOVEA_CHECK(attention(context, args));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].kept == nullptr) continue;
    FOVEA_CHECK(gather_columns(context, args.lse, kept[i], parts[i].kept->lse));
  }
  return block.output.apply(context, flat(mixed), hidden, {.accumulate = true});
}

}  // namespace fovea
