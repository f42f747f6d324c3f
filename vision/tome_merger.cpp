#include "vision/tome_merger.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "kernels/copy.h"
#include "kernels/ops/gather/gather.h"

namespace fovea {

Result<ToMeMerger> ToMeMerger::create(const ToMeSettings& settings, const VitEncoder& encoder) {
  const VitConfig& config = encoder.config();
  FOVEA_TRY(auto merges,
            tome_merges(settings, encoder.run_layers(), config.patches(), config.prefix_tokens()));
  return ToMeMerger(std::move(merges), settings.proportional, config);
}

Status ToMeMerger::start(std::int64_t pictures) {
  const auto tokens = static_cast<std::size_t>(config_.tokens());
  Picture whole;
  whole.sizes.assign(tokens, 1.0f);
  whole.bias.assign(tokens, 0.0f);
  for (std::size_t row = 0; row < tokens; ++row) {
    whole.members.push_back({static_cast<std::int32_t>(row)});
  }
  pictures_.assign(static_cast<std::size_t>(pictures), whole);
  records_.assign(pictures_.size(), {});
  bias_.clear();
  return {};
}

std::span<const float* const> ToMeMerger::key_bias() {
  return bias_;
}

namespace {

/// Keys of one picture averaged over heads: [tokens, channels].
Result<TensorView> mean_keys(Context& context, ConstTensorView key) {
  const std::int64_t tokens = key.rows(), heads = key.shape[1], channels = key.shape[2];
  FOVEA_TRY(const TensorView mean, context.workspace.take({tokens, channels}, DType::f32));
  for (std::int64_t token = 0; token < tokens; ++token) {
    const float* from = key.row<float>(token);
    float* to = mean.row<float>(token);
    for (std::int64_t c = 0; c < channels; ++c) {
      float sum = 0;
      for (std::int64_t head = 0; head < heads; ++head) sum += from[head * channels + c];
      to[c] = sum / static_cast<float>(heads);
    }
  }
  return mean;
}

}  // namespace

Status ToMeMerger::after_attention(Context& context, const VitBlockView& block, VitRows& rows,
                                   TensorView hidden) {
  const std::int64_t merges = merges_[static_cast<std::size_t>(block.layer)];
  for (std::size_t p = 0; p < pictures_.size(); ++p) {
    records_[p].tokens_entering.push_back(rows.count(static_cast<std::int64_t>(p)));
  }
  if (merges > 0) {
    const Workspace::Scope scope(context.workspace);
    const Workspace::Scope host_scope(context.host().workspace);
    VitRows left;
    left.offsets.assign(1, 0);
    std::vector<std::int32_t> offsets{0}, sources;
    std::vector<float> weights;
    for (std::size_t p = 0; p < pictures_.size(); ++p) {
      const auto picture = static_cast<std::int64_t>(p);
      Picture& state = pictures_[p];
      FOVEA_TRY(const TensorView keys, mean_keys(context.host(), picture_view(block, picture).key));
      FOVEA_TRY(const ToMeGroups groups,
                tome_groups(keys, state.sizes, merges, config_.prefix_tokens()));
      const auto first = static_cast<std::int32_t>(rows.first(picture));
      Picture next;
      for (std::size_t g = 0; g + 1 < groups.offsets.size(); ++g) {
        std::vector<std::int32_t> members;
        float size = 0;
        for (std::int32_t s = groups.offsets[g]; s < groups.offsets[g + 1]; ++s) {
          const auto source = static_cast<std::size_t>(groups.sources[static_cast<std::size_t>(s)]);
          const auto& own = state.members[source];
          members.insert(members.end(), own.begin(), own.end());
          size += state.sizes[source];
          sources.push_back(first + static_cast<std::int32_t>(source));
          weights.push_back(groups.weights[static_cast<std::size_t>(s)]);
        }
        offsets.push_back(static_cast<std::int32_t>(sources.size()));
        std::sort(members.begin(), members.end());
        left.tokens.push_back(members.front());
        next.members.push_back(std::move(members));
        next.sizes.push_back(size);
        next.bias.push_back(std::log(size));
      }
      left.offsets.push_back(static_cast<std::int32_t>(left.tokens.size()));
      state = std::move(next);
      record(block.layer, p);
    }
    FOVEA_TRY(const TensorView merged,
              context.workspace.take({left.count(), hidden.shape[1]}, DType::f32));
    FOVEA_CHECK(merge_rows(context, hidden, offsets, sources, weights, merged));
    FOVEA_CHECK(copy(context, merged, hidden.slice(0, left.count())));
    rows = std::move(left);
    bias_.clear();
    for (const Picture& picture : pictures_) {
      if (proportional_) bias_.push_back(picture.bias.data());
    }
  }
  for (std::size_t p = 0; p < pictures_.size(); ++p) {
    records_[p].tokens_after_attention.push_back(rows.count(static_cast<std::int64_t>(p)));
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
  FOVEA_TRY(left.hidden, Tensor::allocate({rows.count(), config.hidden_size}, DType::f32));
  const Workspace::Scope host_scope(context.host().workspace);
  FOVEA_TRY(const ConstTensorView states, to_host(context, hidden.slice(0, rows.count())));
  FOVEA_CHECK(gather_rows(context.host(), states, order, left.hidden.view()));
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
