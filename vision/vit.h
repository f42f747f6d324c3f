#pragma once
// The Vision Transformer encoder (arXiv 2010.11929): class token, learned positions, pre-norm
// blocks. CLIP's towers (arXiv 2103.00020) add a norm before the first block; VitConfig says what a
// tower has. Pictures run in batches, and between blocks tokens may leave.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/attention/kv_view.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/weights/weight_reader.h"
#include "vision/vit_config.h"

namespace fovea {

/// Whose tokens the rows of a batch are.
struct VitRows {
  std::vector<std::int32_t> offsets;  // picture p owns rows offsets[p] .. offsets[p + 1] - 1
  std::vector<std::int32_t> tokens;   // per row: index in the whole sequence of its picture (class
                                      // token 0, distillation token if any, patches), ascending;
                                      // of a merged token the first it is made of, in any order

  std::int64_t pictures() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  std::int64_t count() const { return offsets.back(); }
  std::int64_t first(std::int64_t picture) const {
    return offsets[static_cast<std::size_t>(picture)];
  }
  std::int64_t count(std::int64_t picture) const { return first(picture + 1) - first(picture); }
};

/// What a block shows to whoever watches (encoder heatmaps, pruning between blocks): views that are
/// valid during the call only, in the memory of the context that comes with them. Rows are those of
/// all pictures, one after another. On a GPU query, key and gathered are of the tower's type of
/// activations.
struct VitBlockView {
  int layer = 0;  // 0-based block that has just run
  const VitRows* rows = nullptr;
  ConstTensorView query;     // [rows, heads, head_dim] f32
  ConstTensorView key;       // [rows, heads, head_dim] f32
  ConstTensorView gathered;  // [rows, heads, head_dim] f32: attention's output, not yet projected
  ConstTensorView lse;       // [heads, rows] f32
  ConstTensorView hidden;    // [rows, hidden] f32: output of the block
  float scale = 1.0f;
};
using VitObserver = std::function<Status(Context&, const VitBlockView&)>;

/// One picture's part of what a block shows.
struct VitPictureView {
  ConstTensorView query, key, gathered;  // [tokens, heads, head_dim]
  ConstTensorView lse;                   // [heads, tokens]
  std::span<const std::int32_t> tokens;  // as in VitRows
};
VitPictureView picture_view(const VitBlockView& block, std::int64_t picture);

/// A picture's keys as attention_scores() reads them; `page` and `length` must outlive the result.
/// On a GPU both lie there: `tokens` is what *length says.
KvView key_view(ConstTensorView key, const std::byte* const* page, std::int32_t tokens,
                const std::int32_t* length);
/// The same with page and length in the context's workspace.
Result<KvView> key_view(Context& context, ConstTensorView key);

/// Decides between blocks which tokens go on.
class VitReducer {
 public:
  virtual ~VitReducer() = default;
  /// Fills `keep` with the rows that enter block `layer`, ascending indices into `rows`; every
  /// picture must keep its class token (and distillation token). Left empty: all rows stay. The
  /// context is the tower's own.
  virtual Status before_block(Context& context, int layer, const VitRows& rows,
                              std::vector<std::int32_t>& keep) = 0;
  /// Whether after_block() is to be called for this block.
  virtual bool watches(int layer) const = 0;
  /// What the block shows lies where the context computes.
  virtual Status after_block(Context& context, const VitBlockView& block) = 0;
};

/// Makes fewer tokens of many between the attention and the MLP of blocks (ToMe).
class VitMerger {
 public:
  virtual ~VitMerger() = default;
  /// A pass over so many pictures begins.
  virtual Status start(Context& context, std::int64_t pictures) = 0;
  /// Added to the logits of every row: a pointer a picture to one number for each of its tokens,
  /// where the context of the pass computes, or nothing.
  virtual std::span<const float* const> key_bias() = 0;
  /// `block` shows the block whose attention has just run (its hidden states lack the MLP), where
  /// the context computes; `rows` and the first rows of `hidden` become those that go on, the
  /// special tokens of every picture first among its own. Whose tokens they are may be told later.
  virtual Status after_attention(Context& context, const VitBlockView& block, VitRows& rows,
                                 TensorView hidden) = 0;
  /// The pass is over: `rows` learn whose tokens they are.
  virtual Status finish(VitRows& rows) = 0;
};

/// Who takes part in a pass; nobody by default, and a merger alone.
struct VitHooks {
  VitObserver observer;  // called after every block, with what it shows in the host's memory
  VitObserver beside;    // the same where the tower's context computes
  VitReducer* reducer = nullptr;
  VitMerger* merger = nullptr;
};

class VitEncoder {
 public:
  /// Reads embeddings, CLIP's first norm where the configuration has one, and blocks 0 ..
  /// run_layers - 1 below the reader's prefix, in any layout of vit_names.h. Blocks that will not
  /// run are not read.
  static Result<VitEncoder> load(Context& context, const VitConfig& config,
                                 const WeightReader& weights, LinearDType dtype, int run_layers);
  /// Random weights of the right scale, for benchmarks without a checkpoint.
  static Result<VitEncoder> random(Context& context, const VitConfig& config, LinearDType dtype,
                                   int run_layers, std::uint64_t seed);

  VitEncoder(VitEncoder&&) noexcept;
  VitEncoder& operator=(VitEncoder&&) noexcept;
  ~VitEncoder();

  const VitConfig& config() const;
  int run_layers() const;

  /// pixels: [channels, image_size, image_size] f32, in the host's memory or where the context
  /// computes. out: [tokens, hidden] f32, there, the hidden states after block run_layers - 1 (no
  /// final norm). The observer, when given, is called after every block.
  Status forward(Context& context, ConstTensorView pixels, TensorView out,
                 const VitObserver& observer = {}) const;

  /// The same for pixels [pictures, channels, image_size, image_size] and out [pictures * tokens,
  /// hidden], of which the first rows are filled: those that are left, as the answer tells. A
  /// reducer that keeps everything changes no bit. Errors: usage (shapes, a reducer that drops a
  /// class token), cancelled, out_of_memory.
  Result<VitRows> forward_batch(Context& context, ConstTensorView pixels, TensorView out,
                                const VitHooks& hooks = {}) const;

  /// Shapes of every matrix product of one forward pass, for the bench's floor.
  std::vector<std::array<std::int64_t, 3>> products() const;  // {rows, inputs, outputs}
  std::size_t weight_bytes() const;

 private:
  struct Impl;
  explicit VitEncoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fovea
