#include "vision/tome_merger.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/alike/alike.h"
#include "kernels/ops/gather/gather.h"
#include "kernels/ops/similarity/similarity.h"

namespace fovea {

Result<ToMeMerger> ToMeMerger::create(const ToMeSettings& settings, const VitEncoder& encoder) {
  const VitConfig& config = encoder.config();
  FOVEA_TRY(auto merges,
            tome_merges(settings, encoder.run_layers(), config.patches(), config.prefix_tokens()));
  return ToMeMerger(std::move(merges), settings.proportional, config);
}

Status ToMeMerger::start(Context& context, std::int64_t pictures) {
  const auto tokens = static_cast<std::size_t>(config_.tokens());
  const std::vector<float> ones(tokens, 1.0f);
  const ConstTensorView whole(reinterpret_cast<const std::byte*>(ones.data()), DType::f32,
                              {config_.tokens()});
  pictures_.clear();
  for (std::int64_t p = 0; p < pictures; ++p) {
    Picture& picture = pictures_.emplace_back();
    FOVEA_TRY(picture.sizes, Tensor::allocate(whole.shape, DType::f32, context.device));
    FOVEA_CHECK(copy(context, whole, picture.sizes.view()));
    for (std::size_t row = 0; row < tokens; ++row) {
      picture.members.push_back({static_cast<std::int32_t>(row)});
    }
  }
  records_.assign(pictures_.size(), {});
  merged_.clear();
  bias_.clear();
  return {};
}

std::span<const float* const> ToMeMerger::key_bias() {
  return bias_;
}

Status ToMeMerger::merge(Context& context, const VitBlockView& block, std::size_t picture,
                         ConstTensorView hidden, TensorView left) {
  Picture& state = pictures_[picture];
  const ConstTensorView key = picture_view(block, static_cast<std::int64_t>(picture)).key;
  const std::int64_t present = hidden.rows(), stay = left.rows();
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView keys, context.workspace.take({present, key.shape[2]}, DType::f32));
  FOVEA_CHECK(head_means(context, key, keys));
  Picture next;
  FOVEA_TRY(next.sizes, Tensor::allocate({stay}, DType::f32, context.device));
  FOVEA_TRY(next.bias, Tensor::allocate({stay}, DType::f32, context.device));
  AlikeTokens tokens;
  FOVEA_TRY(tokens.groups.offsets, context.workspace.take({stay + 1}, DType::i32));
  FOVEA_TRY(tokens.groups.members, context.workspace.take({present}, DType::i32));
  FOVEA_TRY(tokens.weights, context.workspace.take({present}, DType::f32));
  tokens.sizes = next.sizes.view();
  tokens.bias = next.bias.view();
  FOVEA_CHECK(merge_alike(context, keys, std::as_const(state.sizes).view(), config_.prefix_tokens(),
                          tokens));
  FOVEA_CHECK(merge_rows(context, hidden, ConstTensorView(tokens.groups.offsets),
                         ConstTensorView(tokens.groups.members), ConstTensorView(tokens.weights),
                         left));
  Merged& merged = merged_.emplace_back();
  merged.layer = block.layer;
  merged.picture = picture;
  FOVEA_TRY(merged.offsets, Arriving::start(context, tokens.groups.offsets));
  FOVEA_TRY(merged.sources, Arriving::start(context, tokens.groups.members));
  state.sizes = std::move(next.sizes);
  state.bias = std::move(next.bias);
  return {};
}

Status ToMeMerger::after_attention(Context& context, const VitBlockView& block, VitRows& rows,
                                   TensorView hidden) {
  const std::int64_t merges = merges_[static_cast<std::size_t>(block.layer)];
  VitRows left;
  left.offsets.assign(1, 0);
  for (std::size_t p = 0; p < pictures_.size(); ++p) {
    const std::int64_t present = rows.count(static_cast<std::int64_t>(p));
    const std::int64_t stay =
        present - std::min(merges, most_merges(present, config_.prefix_tokens()));
    records_[p].tokens_entering.push_back(present);
    records_[p].tokens_after_attention.push_back(stay);
    left.offsets.push_back(left.offsets.back() + static_cast<std::int32_t>(stay));
  }
  if (merges == 0) return {};
  left.tokens.assign(static_cast<std::size_t>(left.count()), -1);  // finish() tells
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView merged,
            context.workspace.take({left.count(), hidden.shape[1]}, DType::f32));
  bias_.clear();
  for (std::size_t p = 0; p < pictures_.size(); ++p) {
    const auto picture = static_cast<std::int64_t>(p);
    FOVEA_CHECK(merge(context, block, p, hidden.slice(rows.first(picture), rows.count(picture)),
                      merged.slice(left.first(picture), left.count(picture))));
    if (proportional_) bias_.push_back(pictures_[p].bias.as<float>());
  }
  FOVEA_CHECK(copy(context, merged, hidden.slice(0, left.count())));
  rows = std::move(left);
  return {};
}

Status ToMeMerger::finish(VitRows& rows) {
  for (const Merged& merged : merged_) {
    FOVEA_TRY(const auto offsets, merged.offsets.wait());
    FOVEA_TRY(const auto sources, merged.sources.wait());
    auto& members = pictures_[merged.picture].members;
    std::vector<std::vector<std::int32_t>> next;
    for (std::size_t g = 0; g + 1 < offsets.size(); ++g) {
      std::vector<std::int32_t>& group = next.emplace_back();
      for (std::int32_t s = offsets[g]; s < offsets[g + 1]; ++s) {
        const auto& own = members[static_cast<std::size_t>(sources[static_cast<std::size_t>(s)])];
        group.insert(group.end(), own.begin(), own.end());
      }
      std::sort(group.begin(), group.end());
    }
    members = std::move(next);
    record(merged.layer, merged.picture);
  }
  merged_.clear();
  rows.tokens.clear();
  for (const Picture& picture : pictures_) {
    for (const auto& members : picture.members) rows.tokens.push_back(members.front());
  }
  return {};
}

void ToMeMerger::record(int layer, std::size_t picture) {
  StageRecord stage{.when = Hook::vit_block, .layer = layer, .kept = {}, .sources = {}};
  const auto special = static_cast<std::int32_t>(config_.prefix_tokens());
  for (const auto& members : pictures_[picture].members) {
    if (members.front() < special) continue;
    std::vector<std::int32_t> patches = members;
    for (std::int32_t& patch : patches) patch -= special;
    if (patches.size() == 1) {
      stage.kept.push_back(patches.front());
    } else {
      stage.sources.push_back(std::move(patches));
    }
  }
  std::sort(stage.kept.begin(), stage.kept.end());
  std::sort(stage.sources.begin(), stage.sources.end());
  records_[picture].stages.push_back(std::move(stage));
}

namespace {

class ToMePruner final : public TowerPruner {
 public:
  ToMePruner(ToMeSettings settings, std::string name)
      : settings_(std::move(settings)), name_(std::move(name)) {}
  std::string name() const override { return name_; }
  Result<TowerTokens> run(Context& context, const VitEncoder& tower,
                          ConstTensorView pixels) override;

 private:
  ToMeSettings settings_;
  std::string name_;
};

Result<TowerTokens> ToMePruner::run(Context& context, const VitEncoder& tower,
                                    ConstTensorView pixels) {
  const VitConfig& config = tower.config();
  FOVEA_TRY(ToMeMerger merger, ToMeMerger::create(settings_, tower));
  const Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView hidden,
            context.workspace.take({config.tokens(), config.hidden_size}, DType::f32));
  const ConstTensorView batch(pixels.data, pixels.dtype,
                              {1, config.channels, config.image_size, config.image_size},
                              pixels.device);
  VitHooks hooks;
  hooks.merger = &merger;
  FOVEA_TRY(const VitRows rows, tower.forward_batch(context, batch, hidden, hooks));

  const auto& members = merger.members(0);
  std::vector<std::int32_t> order(members.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return members[static_cast<std::size_t>(a)] < members[static_cast<std::size_t>(b)];
  });
  TowerTokens left;
  FOVEA_TRY(left.hidden,
            Tensor::allocate({rows.count(), config.hidden_size}, DType::f32, context.device));
  FOVEA_CHECK(gather_rows(context, hidden.slice(0, rows.count()), order, left.hidden.view()));
  for (const std::int32_t row : order) {
    const auto& made_of = members[static_cast<std::size_t>(row)];
    if (made_of.size() > 1) {
      left.merged[static_cast<std::int32_t>(left.rows.size())] = made_of;
    }
    left.rows.push_back(made_of.front());
  }
  left.stages = merger.records().front().stages;
  const auto special = static_cast<std::int32_t>(config.prefix_tokens());
  for (StageRecord& stage : left.stages) {  // patches by raster index become rows of the tower
    for (std::int32_t& patch : stage.kept) patch += special;
    for (auto& sources : stage.sources) {
      for (std::int32_t& patch : sources) patch += special;
    }
    // A class token that the model selects is a token like any other.
    stage.kept.insert(stage.kept.begin(), 0);
  }
  return left;
}

}  // namespace

std::shared_ptr<TowerPruner> tome_tower_pruner(ToMeSettings settings, std::string name) {
  return std::make_shared<ToMePruner>(std::move(settings), std::move(name));
}

}  // namespace fovea
