#include "vision/vit_replay.h"

#include <utility>

#include "kernels/copy.h"
#include "kernels/graph.h"
#include "kernels/kept.h"
#include "vision/vit_block.h"

namespace fovea {

namespace {

/// What recorded work reads and writes.
struct Replay {
  explicit Replay(Device device) : held(device), scratch(device) {}

  Workspace held;  // of buffers and keys
  VitBuffers buffers;
  VitKeys keys;
  Workspace scratch;
  Tensor pixels, states;
  Graph graph;
};

Status prepare(Context& context, const VitConfig& config, const VitWeights& weights,
               const VitRows& rows, Replay& replay) {
  FOVEA_TRY(replay.pixels,
            Tensor::allocate({1, config.channels, config.image_size, config.image_size}, DType::f32,
                             context.device));
  std::swap(context.workspace, replay.held);
  const Status taken = [&]() -> Status {
    FOVEA_TRY(replay.buffers,
              take_vit_buffers(context, config, weights.activations, rows.count(), false));
    FOVEA_TRY(replay.keys, VitKeys::reserve(context, rows.pictures()));
    return replay.keys.point_at(context, config, rows, replay.buffers);
  }();
  std::swap(context.workspace, replay.held);
  FOVEA_CHECK(taken);
  FOVEA_TRY(replay.states,
            Tensor::allocate({rows.count(), config.hidden_size}, DType::f32, context.device));
  return {};
}

Status run(Context& context, const VitConfig& config, const VitWeights& weights,
           const VitRows& rows, Replay& replay) {
  const TensorView states = replay.states.view();
  FOVEA_CHECK(embed_pictures(context, config, weights, replay.pixels.view(), states));
  for (const VitBlockWeights& block : weights.blocks) {
    FOVEA_CHECK(
        run_vit_attention(context, config, block, rows, replay.buffers, replay.keys, {}, states));
    FOVEA_CHECK(run_vit_mlp(context, config, block, replay.buffers, states));
  }
  return {};
}

}  // namespace

Result<bool> replay_tower(Context& context, const VitConfig& config, const VitWeights& weights,
                          const VitRows& rows, ConstTensorView pixels, TensorView out) {
  std::shared_ptr<void>& kept = kept_by(context, &weights);
  if (kept == nullptr) {
    kept = std::make_shared<Replay>(context.device);
    return false;
  }
  Replay& replay = *static_cast<Replay*>(kept.get());
  if (replay.states.empty()) FOVEA_CHECK(prepare(context, config, weights, rows, replay));
  FOVEA_CHECK(copy(context, pixels, replay.pixels.view()));
  if (replay.graph.empty()) {
    FOVEA_TRY(replay.graph, Graph::record(context, replay.scratch, [&] {
                return run(context, config, weights, rows, replay);
              }));
  }
  FOVEA_CHECK(replay.graph.launch(context));
  FOVEA_CHECK(copy(context, std::as_const(replay.states).view(), out));
  return true;
}

}  // namespace fovea
