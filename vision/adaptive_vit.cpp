#include "vision/adaptive_vit.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/ops/attention/attention.h"
#include "kernels/ops/ratings/ratings.h"
#include "kernels/ops/reduce/reduce.h"

namespace fovea {

Result<TensorView> vit_token_scores(Context& context, const VitBlockView& block,
                                    std::int64_t picture, std::int64_t prefix_tokens) {
  const VitPictureView view = picture_view(block, picture);
  const std::int64_t heads = view.query.shape[1];
  const std::int64_t patches = view.query.shape[0] - prefix_tokens;
  FOVEA_TRY(const TensorView scores, context.workspace.take({patches}, DType::f32));
  if (patches == 0) return scores;
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView class_rows, context.workspace.take({heads, patches}, DType::f32));
  FOVEA_TRY(const TensorView norms, context.workspace.take({heads, patches}, DType::f32));
  FOVEA_CHECK(channel_norms(context, view.gathered.slice(prefix_tokens, patches), norms));

  std::vector<std::int32_t> columns(static_cast<std::size_t>(patches));
  std::iota(columns.begin(), columns.end(), static_cast<std::int32_t>(prefix_tokens));
  ScoreArgs args;
  args.query = view.query.slice(0, 1);
  args.lse = ConstTensorView(view.lse.data, DType::f32, {heads, 1}, view.lse.device);
  args.lse.row_stride = view.lse.row_stride;
  FOVEA_TRY(args.kv, key_view(context, view.key));
  args.scale = block.scale;
  args.columns = columns;
  args.rows = Reduction::sum;  // of the one row: leaves [heads, patches]
  args.out = class_rows;
  FOVEA_CHECK(attention_scores(context, args));
  FOVEA_CHECK(scores_by_head_norms(context, class_rows, norms, scores));
  return scores;
}

// ---- Reducer -----------------------------------------------------------------------------------

Status VitPruneReducer::before_block(Context& context, int layer, const VitRows& rows,
                                     std::vector<std::int32_t>& keep) {
  const auto pictures = static_cast<std::size_t>(rows.pictures());
  if (layer == 0) {
    if (keys_.size() != pictures) {
      keys_.resize(pictures);
      std::iota(keys_.begin(), keys_.end(), std::uint64_t{0});
    }
    pruning_.emplace(settings_, keys_, patches_);
    records_.assign(pictures, {});
    keys_.clear();
  }
  const int cut = pruning_->cut_before(layer);
  std::vector<std::vector<std::int32_t>> survivors;
  if (cut >= 0) {
    FOVEA_TRY(survivors, pruning_->cut(context, cut));
  }
  for (std::size_t p = 0; p < pictures; ++p) {
    const std::int32_t first = rows.offsets[p];
    std::int64_t entering = rows.count(static_cast<std::int64_t>(p));
    if (cut >= 0) {
      StageRecord stage{.when = Hook::vit_block, .layer = layer, .kept = {}, .sources = {}};
      for (std::int32_t special = 0; special < prefix_; ++special) keep.push_back(first + special);
      for (const std::int32_t patch : survivors[p]) {
        const auto row = static_cast<std::int32_t>(first + prefix_ + patch);
        keep.push_back(row);
        stage.kept.push_back(rows.tokens[static_cast<std::size_t>(row)] -
                             static_cast<std::int32_t>(prefix_));
      }
      entering = prefix_ + std::ssize(survivors[p]);
      records_[p].stages.push_back(std::move(stage));
    }
    records_[p].tokens_entering.push_back(entering);
  }
  return {};
}

bool VitPruneReducer::watches(int layer) const {
  return pruning_ && pruning_->wants_scores(layer);
}

Status VitPruneReducer::after_block(Context& context, const VitBlockView& block) {
  for (std::int64_t picture = 0; picture < block.rows->pictures(); ++picture) {
    const Workspace::Scope scope(context.workspace);
    FOVEA_TRY(const TensorView scores, vit_token_scores(context, block, picture, prefix_));
    FOVEA_CHECK(pruning_->add_scores(context, picture, scores));
  }
  return {};
}

VitWork vit_work(const VitConfig& config) {
  VitWork work;
  work.hidden = config.hidden_size;
  work.intermediate = config.intermediate_size;
  work.patch_inputs = config.channels * config.patch_size * config.patch_size;
  work.patches = config.patches();
  return work;
}

}  // namespace fovea
