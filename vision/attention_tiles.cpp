#include "vision/attention_tiles.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/ops/attention/attention.h"

namespace fovea {

Status visit_attention(Context& context, ConstTensorView query, ConstTensorView key,
                       ConstTensorView lse, float scale, std::int64_t rows,
                       const AttentionTileVisitor& visit) {
  constexpr std::int64_t kTileRows = 64;
  const std::int64_t heads = query.shape[1], tokens = key.shape[0];
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView room,
            context.workspace.take({heads * std::min(kTileRows, rows) * tokens}, DType::f32));
  std::vector<std::int32_t> columns(static_cast<std::size_t>(tokens));
  std::iota(columns.begin(), columns.end(), 0);
  FOVEA_TRY(const KvView keys, key_view(context, key));
  for (std::int64_t first = 0; first < rows; first += kTileRows) {
    if (context.cancelled()) {
      return make_error(ErrorCode::cancelled, "stopped while reading attention");
    }
    const std::int64_t count = std::min(kTileRows, rows - first);
    ScoreArgs args;
    args.query = query.slice(first, count);
    args.lse = ConstTensorView(lse.data + static_cast<std::size_t>(first) * sizeof(float),
                               DType::f32, {heads, count}, lse.device);
    args.lse.row_stride = lse.row_stride;
    args.kv = keys;
    args.scale = scale;
    args.columns = columns;
    args.out = TensorView(room.data, DType::f32, {heads, count, tokens}, room.device);
    FOVEA_CHECK(attention_scores(context, args));
    FOVEA_CHECK(visit(first, count, args.out));
  }
  return {};
}

}  // namespace fovea
