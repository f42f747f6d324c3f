#include "vision/attention_rollout.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <span>
#include <string>

#include "vision/attention_tiles.h"

namespace fovea {

namespace {

constexpr const char* kFusionNames[] = {"mean", "max", "min"};  // in the order of HeadFusion
constexpr std::size_t kHalfValues = std::size_t{1} << 16;

Result<Tensor> copy_rows(ConstTensorView from) {
  FOVEA_TRY(Tensor copy, Tensor::allocate(from.shape, DType::f32));
  const std::size_t bytes = static_cast<std::size_t>(from.inner_elements()) * sizeof(float);
  for (std::int64_t row = 0; row < from.rows(); ++row) {
    std::memcpy(copy.view().row<float>(row), from.row<float>(row), bytes);
  }
  return copy;
}

/// Row after row of a block's probabilities, heads fused.
using RowVisitor = std::function<void(std::int64_t row, std::span<float> fused)>;

Status visit_fused(Context& context, const AttentionTrace::Block& block, HeadFusion fusion,
                   std::int64_t rows, const RowVisitor& visit) {
  const std::int64_t tokens = block.key.shape()[0];
  const auto width = static_cast<std::size_t>(tokens);
  std::vector<float> fused(width);
  const auto tile_visitor = [&](std::int64_t first, std::int64_t count,
                                ConstTensorView tile) -> Status {
    const std::int64_t heads = tile.shape[0];
    for (std::int64_t r = 0; r < count; ++r) {
      std::copy_n(tile.row<float>(0) + r * tokens, width, fused.data());
      for (std::int64_t head = 1; head < heads; ++head) {
        const float* row = tile.row<float>(head) + r * tokens;
        for (std::size_t i = 0; i < width; ++i) {
          switch (fusion) {
            case HeadFusion::mean:
              fused[i] += row[i];
              break;
            case HeadFusion::max:
              fused[i] = std::max(fused[i], row[i]);
              break;
            case HeadFusion::min:
              fused[i] = std::min(fused[i], row[i]);
              break;
          }
        }
      }
      if (fusion == HeadFusion::mean) {
        for (float& value : fused) value /= static_cast<float>(heads);
      }
      visit(first + r, fused);
    }
    return {};
  };
  return visit_attention(context, block.query.view(), block.key.view(), block.lse.view(),
                         block.scale, rows, tile_visitor);
}

/// What is discarded of a block: everything below `value`, and the first `equals` of those equal to
/// it in raster order.
struct Boundary {
  float value = 0;
  std::int64_t equals = 0;
};

/// The k-th smallest value is found by counting: values are not negative, so that their bits sort
/// as they do; first by the upper half of the bits, then by the lower half among those that share
/// the upper.
Result<Boundary> find_boundary(Context& context, const AttentionTrace::Block& block,
                               HeadFusion fusion, std::int64_t discarded) {
  const std::int64_t tokens = block.key.shape()[0];
  std::vector<std::int64_t> counts(kHalfValues);
  const auto bucket_of = [&counts](std::int64_t place) {
    std::int64_t below = 0;
    std::size_t bucket = 0;
    while (below + counts[bucket] < place) below += counts[bucket++];
    return std::pair(static_cast<std::uint32_t>(bucket), below);
  };
  FOVEA_CHECK(visit_fused(context, block, fusion, tokens, [&](auto, std::span<float> row) {
    for (const float value : row) ++counts[std::bit_cast<std::uint32_t>(value) >> 16];
  }));
  const auto [upper, below] = bucket_of(discarded);
  std::ranges::fill(counts, 0);
  FOVEA_CHECK(visit_fused(context, block, fusion, tokens, [&](auto, std::span<float> row) {
    for (const float value : row) {
      const auto bits = std::bit_cast<std::uint32_t>(value);
      if (bits >> 16 == upper) ++counts[bits & 0xFFFFU];
    }
  }));
  const auto [lower, among] = bucket_of(discarded - below);
  return Boundary{std::bit_cast<float>(upper << 16 | lower), discarded - below - among};
}

/// to = from times (normalised rows of (fused attention + identity)).
Status carry_back(Context& context, const AttentionTrace::Block& block,
                  const RolloutOptions& options, std::span<const double> from,
                  std::vector<double>& to) {
  const std::int64_t tokens = block.key.shape()[0];
  const auto discarded = static_cast<std::int64_t>(
      std::floor(options.discard * static_cast<double>(tokens) * static_cast<double>(tokens)));
  Boundary boundary;
  if (discarded > 0) {
    FOVEA_TRY(boundary, find_boundary(context, block, options.fusion, discarded));
  }
  // Rows that nothing flows through need not be computed where they are not counted either.
  std::int64_t rows = tokens;
  while (discarded == 0 && rows > 1 && from[static_cast<std::size_t>(rows - 1)] == 0) --rows;
  std::fill(to.begin(), to.end(), 0.0);
  const auto visit = [&](std::int64_t row, std::span<float> fused) {
    const auto r = static_cast<std::size_t>(row);
    if (discarded > 0) {
      for (std::size_t i = 0; i < fused.size(); ++i) {
        const bool drop =
            fused[i] < boundary.value || (fused[i] == boundary.value && boundary.equals-- > 0);
        if (drop && r + i > 0) fused[i] = 0;
      }
    }
    if (from[r] == 0) return;
    double total = 1.0;  // the identity's
    for (const float value : fused) total += value;
    const double share = from[r] / total;
    for (std::size_t i = 0; i < fused.size(); ++i) to[i] += share * fused[i];
    to[r] += share;
  };
  return visit_fused(context, block, options.fusion, rows, visit);
}

}  // namespace

std::optional<HeadFusion> find_head_fusion(const std::string& name) {
  const auto* found = std::ranges::find(kFusionNames, name);
  if (found == std::end(kFusionNames)) return std::nullopt;
  return static_cast<HeadFusion>(found - std::begin(kFusionNames));
}

const char* head_fusion_name(HeadFusion fusion) {
  return kFusionNames[static_cast<int>(fusion)];
}

Status AttentionTrace::record(const VitBlockView& block, std::int64_t picture) {
  const VitPictureView view = picture_view(block, picture);
  Block copy;
  FOVEA_TRY(copy.query, copy_rows(view.query));
  FOVEA_TRY(copy.key, copy_rows(view.key));
  FOVEA_TRY(copy.lse, copy_rows(view.lse));
  copy.scale = block.scale;
  copy.tokens.assign(view.tokens.begin(), view.tokens.end());
  blocks_.push_back(std::move(copy));
  return {};
}

std::size_t AttentionTrace::bytes() const {
  std::size_t total = 0;
  for (const Block& block : blocks_) {
    total += block.query.bytes() + block.key.bytes() + block.lse.bytes();
  }
  return total;
}

Result<std::vector<float>> attention_rollout(Context& context, const AttentionTrace& trace,
                                             const RolloutOptions& options) {
  if (trace.blocks().empty()) {
    return make_error(ErrorCode::usage, "rollout needs the attention of at least one block");
  }
  if (!(options.discard >= 0 && options.discard < 1)) {
    return make_error(ErrorCode::usage, "the discard ratio must lie from 0 to below 1");
  }
  const auto whole = static_cast<std::size_t>(trace.blocks().front().tokens.size());
  std::vector<double> flow(whole, 0.0);  // by place in the first block's sequence
  flow.front() = 1.0;
  for (auto block = trace.blocks().rbegin(); block != trace.blocks().rend(); ++block) {
    std::vector<double> from, to(block->tokens.size());
    const std::int32_t base = trace.blocks().front().tokens.front();
    for (const std::int32_t token : block->tokens) {
      from.push_back(flow[static_cast<std::size_t>(token - base)]);
    }
    FOVEA_CHECK(carry_back(context, *block, options, from, to));
    for (std::size_t i = 0; i < to.size(); ++i) {
      flow[static_cast<std::size_t>(block->tokens[i] - base)] = to[i];
    }
  }
  return std::vector<float>(flow.begin(), flow.end());
}

}  // namespace fovea
