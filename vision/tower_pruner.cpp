#include "vision/tower_pruner.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "kernels/copy.h"
#include "kernels/fetch.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/similarity/similarity.h"

namespace fovea {

SequenceLayout tower_layout(const VitConfig& config) {
  SequenceLayout layout;
  const auto grid = static_cast<std::int32_t>(config.grid());
  const auto patches_from = static_cast<std::int32_t>(config.prefix_tokens());
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(config.tokens()); ++row) {
    VisualToken token;
    if (row >= patches_from) {
      token.row = (row - patches_from) / grid;
      token.col = (row - patches_from) % grid;
    }
    layout.kinds.push_back(TokenKind::visual);
    layout.visual_ids.push_back(row);
    layout.visual.push_back(token);
  }
  return layout;
}

namespace {

/// What a policy sees of a block that has just run on one picture.
class BlockStage final : public StageInput {
 public:
  BlockStage(const SequenceLayout& layout, const VitBlockView& block)
      : layout_(layout), block_(block), view_(picture_view(block, 0)) {}

  std::span<const std::int32_t> visual_ids() const override { return view_.tokens; }
  const SequenceLayout& layout() const override { return layout_; }
  std::int64_t row_count(RowSet rows) const override {
    if (rows == RowSet::class_token) return 1;
    return rows == RowSet::visual ? view_.query.rows() : 0;
  }
  /// A tower adds its positions to the states that enter it; rows have none of their own.
  std::vector<std::int32_t> positions(RowSet) const override { return {}; }
  Result<TensorView> scores(Context& context, const ScoreRequest& request) override;
  Result<ConstTensorView> visual_hidden(Context&) override { return block_.hidden; }
  Result<ConstTensorView> visual_keys(Context& context) override;
  Result<ConstTensorView> text_hidden(Context&) override {
    return make_error(ErrorCode::unsupported, "a vision tower has no text");
  }

 private:
  const SequenceLayout& layout_;
  const VitBlockView& block_;
  VitPictureView view_;
};

Result<TensorView> BlockStage::scores(Context& context, const ScoreRequest& request) {
  const std::int64_t rows = row_count(request.rows);
  if (rows == 0 || request.columns != ColumnSet::visual) {
    return make_error(ErrorCode::unsupported, "a vision tower has no text to attend or be seen");
  }
  const std::int64_t heads = view_.query.shape[1], tokens = view_.query.rows();
  FOVEA_TRY(const TensorView out,
            context.workspace.take(request.shape(heads, rows, tokens), DType::f32));
  std::vector<std::int32_t> columns(static_cast<std::size_t>(tokens));
  std::iota(columns.begin(), columns.end(), 0);
  ScoreArgs args;
  args.query = view_.query.slice(0, rows);  // the class token comes first
  args.lse = ConstTensorView(view_.lse.data, DType::f32, {heads, rows}, view_.lse.device);
  args.lse.row_stride = view_.lse.row_stride;
  FOVEA_TRY(args.kv, key_view(context, view_.key));
  args.scale = block_.scale;
  args.columns = columns;
  FOVEA_TRY(args.row_weights, to_device(context, request.row_weights));
  args.rows = request.row_reduction;
  args.heads = request.head_reduction;
  args.out = out;
  FOVEA_CHECK(attention_scores(context, args));
  return out;
}

Result<ConstTensorView> BlockStage::visual_keys(Context& context) {
  FOVEA_TRY(const TensorView mean,
            context.workspace.take(Shape{view_.key.rows(), view_.key.shape[2]}, DType::f32));
  FOVEA_CHECK(head_means(context, view_.key, mean));
  return ConstTensorView(mean);
}

/// A selection whose states are made, and whose names are on their way to the host.
struct Chosen {
  Tensor hidden;
  std::vector<std::int32_t> tokens;  // that were present
  std::int64_t count = 0;
  Arriving sources, offsets;
  bool merges = false;
};

Result<Chosen> apply(Context& context, const VitBlockView& block, const Selection& selection) {
  Chosen chosen;
  chosen.tokens = block.rows->tokens;
  chosen.count = selection.count;
  chosen.merges = !selection.offsets.empty();
  FOVEA_TRY(chosen.sources, Arriving::start(context, selection.sources));
  FOVEA_TRY(chosen.hidden, Tensor::allocate(Shape{selection.count, block.hidden.shape[1]},
                                            DType::f32, context.device));
  if (!chosen.merges) {
    FOVEA_CHECK(gather_rows(context, block.hidden, ConstTensorView(selection.sources),
                            chosen.hidden.view()));
    return chosen;
  }
  FOVEA_TRY(chosen.offsets, Arriving::start(context, selection.offsets));
  FOVEA_CHECK(merge_rows(context, block.hidden, ConstTensorView(selection.offsets),
                         ConstTensorView(selection.sources), ConstTensorView(selection.weights),
                         chosen.hidden.view()));
  return chosen;
}

/// The states a selection leaves, and whose they are. Waits for their names.
Result<TowerTokens> name_tokens(const Stage& stage, Chosen chosen) {
  FOVEA_TRY(const auto sources, chosen.sources.wait());
  std::span<const std::int32_t> offsets;
  if (chosen.merges) {
    FOVEA_TRY(offsets, chosen.offsets.wait());
  }
  const auto present = static_cast<std::int32_t>(chosen.tokens.size());
  TowerTokens left;
  StageRecord record{.when = Hook::vit_block, .layer = stage.layer};
  for (std::int64_t i = 0; i < chosen.count; ++i) {
    const auto place = static_cast<std::size_t>(i);
    const std::int64_t begin = chosen.merges ? offsets[place] : i;
    const std::int64_t end = chosen.merges ? offsets[place + 1] : i + 1;
    std::vector<std::int32_t> rows;
    for (std::int64_t s = begin; s < end; ++s) {
      const std::int32_t source = sources[static_cast<std::size_t>(s)];
      if (source < 0 || source >= present) {
        return make_error(ErrorCode::internal, "a pruning method selected token " +
                                                   std::to_string(source) + " of " +
                                                   std::to_string(present));
      }
      rows.push_back(chosen.tokens[static_cast<std::size_t>(source)]);
    }
    if (rows.empty()) {
      return make_error(ErrorCode::internal, "a pruning method made a token of nothing");
    }
    left.rows.push_back(rows.front());
    if (rows.size() == 1) {
      record.kept.push_back(rows.front());
    } else {
      std::sort(rows.begin(), rows.end());
      record.sources.push_back(rows);
      left.merged[static_cast<std::int32_t>(i)] = std::move(rows);
    }
  }
  std::sort(record.kept.begin(), record.kept.end());
  left.stages.push_back(std::move(record));
  left.hidden = std::move(chosen.hidden);
  return left;
}

class PolicyPruner final : public TowerPruner {
 public:
  explicit PolicyPruner(std::shared_ptr<Policy> policy) : policy_(std::move(policy)) {}
  std::string name() const override { return policy_->name(); }
  Result<TowerTokens> run(Context& context, const VitEncoder& tower,
                          ConstTensorView pixels) override;

 private:
  std::shared_ptr<Policy> policy_;
};

Result<TowerTokens> PolicyPruner::run(Context& context, const VitEncoder& tower,
                                      ConstTensorView pixels) {
  const VitConfig& config = tower.config();
  const SequenceLayout layout = tower_layout(config);
  const ModelShape shape{tower.run_layers(), static_cast<int>(config.heads),
                         static_cast<int>(config.heads), config.hidden_size};
  FOVEA_TRY(const PruningPlan plan, policy_->plan(layout, shape));
  const bool acts = !plan.stages.empty();
  if (plan.stages.size() > 1 || (acts && (plan.stages[0].when != Hook::vit_block ||
                                          plan.stages[0].layer != tower.run_layers() - 1))) {
    return make_error(ErrorCode::unsupported,
                      name() + " does not act where this vision tower lets policies act");
  }
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView hidden,
            context.workspace.take(Shape{config.tokens(), config.hidden_size}, DType::f32));
  std::optional<Chosen> chosen;
  VitHooks hooks;
  if (acts) {
    hooks.beside = [&](Context& where, const VitBlockView& block) -> Status {
      if (block.layer != plan.stages[0].layer) return {};
      Workspace::Scope stage_scope(where.workspace);
      BlockStage stage(layout, block);
      Selection selection;
      FOVEA_CHECK(policy_->select(where, 0, stage, selection));
      FOVEA_TRY(chosen, apply(where, block, selection));
      return {};
    };
  }
  const Shape wanted{config.channels, config.image_size, config.image_size};
  if (pixels.shape != wanted || !pixels.contiguous()) {
    return make_error(ErrorCode::usage, "the vision tower reads pixels " + wanted.to_string() +
                                            ", found " + pixels.shape.to_string());
  }
  ConstTensorView batch = pixels;
  batch.shape = Shape{1, wanted[0], wanted[1], wanted[2]};
  batch.row_stride = batch.inner_elements();
  FOVEA_CHECK(tower.forward_batch(context, batch, hidden, hooks));
  TowerTokens left;
  if (acts) {
    FOVEA_TRY(left, name_tokens(plan.stages[0], std::move(*chosen)));
  }
  if (!acts) {
    left.rows.resize(static_cast<std::size_t>(config.tokens()));
    std::iota(left.rows.begin(), left.rows.end(), 0);
    FOVEA_TRY(left.hidden, Tensor::allocate(hidden.shape, DType::f32, context.device));
    FOVEA_CHECK(convert(context, hidden, left.hidden.view()));
  }
  left.keeps_class_token = acts && plan.keeps_class_token;
  return left;
}

}  // namespace

std::shared_ptr<TowerPruner> tower_pruner(std::shared_ptr<Policy> policy) {
  return std::make_shared<PolicyPruner>(std::move(policy));
}

}  // namespace fovea
