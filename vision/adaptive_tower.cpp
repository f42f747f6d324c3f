#include "vision/adaptive_tower.h"

#include <bit>
#include <utility>

#include "kernels/copy.h"
#include "vision/adaptive_vit.h"

namespace fovea {

namespace {

/// FNV-1a over the pixels as 32-bit words.
std::uint64_t hash_pixels(ConstTensorView pixels) {
  std::uint64_t hash = 0xCBF29CE484222325ull;
  const float* values = pixels.as<float>();
  for (std::int64_t i = 0; i < pixels.shape.elements(); ++i) {
    hash = (hash ^ std::bit_cast<std::uint32_t>(values[i])) * 0x100000001B3ull;
  }
  return hash;
}

class AdaptivePruner final : public TowerPruner {
 public:
  AdaptivePruner(VitPruneSettings settings, std::string name)
      : settings_(std::move(settings)), name_(std::move(name)) {}
  std::string name() const override { return name_; }
  Result<TowerTokens> run(Context& context, const VitEncoder& tower,
                          ConstTensorView pixels) override;

 private:
  VitPruneSettings settings_;
  std::string name_;
};

Result<TowerTokens> AdaptivePruner::run(Context& context, const VitEncoder& tower,
                                        ConstTensorView pixels) {
  const VitConfig& config = tower.config();
  const auto first_patch = static_cast<std::int32_t>(config.prefix_tokens());
  VitPruneReducer reducer(settings_, config);
  Workspace::Scope scope(context.workspace);
  if (settings_.rule == VitKeepRule::random) {  // the only one that asks whose picture it is
    Workspace::Scope host_scope(context.host().workspace);
    FOVEA_TRY(const ConstTensorView here, to_host(context, pixels));
    reducer.name_pictures({hash_pixels(here)});
  }
  FOVEA_TRY(const TensorView hidden,
            context.workspace.take(Shape{config.tokens(), config.hidden_size}, DType::f32));
  const ConstTensorView batch(pixels.data, pixels.dtype,
                              {1, config.channels, config.image_size, config.image_size},
                              pixels.device);
  FOVEA_TRY(const VitRows rows, tower.forward_batch(context, batch, hidden, {.reducer = &reducer}));
  TowerTokens left;
  left.rows = rows.tokens;
  FOVEA_TRY(left.hidden,
            Tensor::allocate(Shape{rows.count(), config.hidden_size}, DType::f32, context.device));
  FOVEA_CHECK(convert(context, hidden.slice(0, rows.count()), left.hidden.view()));
  left.stages = reducer.records().front().stages;
  for (StageRecord& stage : left.stages) {  // patches by raster index become rows of the tower
    for (std::int32_t& patch : stage.kept) patch += first_patch;
    // A class token that the model selects is a token like any other.
    stage.kept.insert(stage.kept.begin(), 0);
  }
  return left;
}

}  // namespace

std::shared_ptr<TowerPruner> adaptive_tower_pruner(VitPruneSettings settings, std::string name) {
  return std::make_shared<AdaptivePruner>(std::move(settings), std::move(name));
}

}  // namespace fovea
