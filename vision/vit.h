#pragma once
// The Vision Transformer encoder (CLIP's, arXiv 2103.00020: class token, learned positions, norm
// before the first block, pre-norm blocks).

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/weights/weight_reader.h"
#include "vision/vit_config.h"

namespace fovea {

/// What a block shows to whoever watches (encoder heatmaps, pruning between blocks): views that
/// are valid during the call only.
struct VitBlockView {
  int layer = 0;           // 0-based block that has just run
  ConstTensorView query;   // [tokens, heads, head_dim] f32
  ConstTensorView key;     // [tokens, heads, head_dim] f32
  ConstTensorView lse;     // [heads, tokens] f32
  ConstTensorView hidden;  // [tokens, hidden] f32: output of the block
  float scale = 1.0f;
};
using VitObserver = std::function<Status(Context&, const VitBlockView&)>;

class VitEncoder {
 public:
  /// Reads `embeddings.*`, `pre_layrnorm.*` (CLIP's spelling) and blocks 0 .. run_layers - 1 of
  /// `encoder.layers.N.*` below the reader's prefix. Blocks that will not run are not read.
  static Result<VitEncoder> load(Context& context, const VitConfig& config,
                                 const WeightReader& weights, LinearDType dtype, int run_layers);
  /// Random weights of the right scale, for benchmarks without a checkpoint.
  static Result<VitEncoder> random(Context& context, const VitConfig& config, LinearDType dtype,
                                   int run_layers, std::uint64_t seed);

  VitEncoder(VitEncoder&&) noexcept;
  VitEncoder& operator=(VitEncoder&&) noexcept;
  ~VitEncoder();

  const VitConfig& config() const;

  /// pixels: [3, image_size, image_size] f32. out: [tokens, hidden] f32, the hidden states after
  /// block run_layers - 1 (no final norm). The observer, when given, is called after every block.
  Status forward(Context& context, ConstTensorView pixels, TensorView out,
                 const VitObserver& observer = {}) const;

  /// Shapes of every matrix product of one forward pass, for the bench's floor.
  std::vector<std::array<std::int64_t, 3>> products() const;  // {rows, inputs, outputs}
  std::size_t weight_bytes() const;

 private:
  struct Impl;
  explicit VitEncoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fovea
