#pragma once
// The contract between a decoder (or a ViT) that runs layers and a method that decides which visual
// tokens survive. A policy never sees a model or a weight. It has two halves: plan(), on the host,
// before the run; and select(), at each stage, written with kernels/ operations only.

#include <memory>
#include <string>
#include <vector>

#include "kernels/context.h"
#include "kernels/ops/attention/attention.h"
#include "pruning/selection.h"
#include "pruning/visual_token.h"

namespace fovea {

/// Where a stage acts.
enum class Hook {
  embeddings,       // on the embedded prompt, before layer 0
  vit_block,        // between blocks of the vision tower
  before_layer,     // on the hidden states that enter a layer
  after_attention,  // between a layer's attention and its MLP
  after_layer,      // on the hidden states that leave a layer
};

/// Positions of survivors in later layers: as they were, or renumbered 0 .. n-1 over the whole
/// shortened sequence.
enum class PositionMode { original, compact };

/// Whose attention a stage reads.
enum class AttentionSource {
  none,
  this_layer,      // after_layer and after_attention: the layer itself
  previous_layer,  // before_layer l: layer l - 1 (FastV)
  preview,         // before_layer l: layer l's own query and key of the rows asked for, computed
                   // ahead (PyramidDrop, ZipVL)
};

/// Query rows a stage needs. The engine keeps queries and lse of these rows only.
enum class RowSet {
  last,              // the last prompt token
  text,              // every token of TokenKind::text
  visual,            // every visual token still present
  from_last_visual,  // the last visual token and all tokens after it (SGL's released code)
  class_token,       // the class token of a vision tower (stages of Hook::vit_block)
  probes,            // the prompt positions that the stage lists
};

enum class ColumnSet {
  visual,
  text,
  all,  // every token present, in sequence order
};

struct Stage {
  Hook when = Hook::before_layer;
  int layer = 0;
  /// Tokens kept (merged ones come on top), or an upper bound when the count is dynamic.
  std::int64_t keep = 0;
  bool dynamic_count = false;
  AttentionSource attention = AttentionSource::none;
  std::vector<RowSet> rows;  // what scores() will be asked for at this stage
  /// Prompt positions of RowSet::probes, ascending.
  std::vector<std::int32_t> probes;
  /// With before_layer and preview: the survivors (and all other tokens) take part in the layer's
  /// attention, the rest skip it with their residual untouched; nothing leaves the sequence
  /// (ZipVL).
  bool bypass = false;
};

struct PruningPlan {
  std::vector<Stage> stages;  // in the order in which they act
  PositionMode positions = PositionMode::original;
  /// Policy::read_embeddings() wants to see the embedded prompt.
  bool reads_embeddings = false;
  /// Of plans for a vision tower: a class token that survives goes on to the decoder, though the
  /// model's own selection leaves class tokens out.
  bool keeps_class_token = false;
};

/// What a plan may depend on.
struct ModelShape {
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  std::int64_t hidden_size = 0;
  std::int64_t head_dim = 0;
  double rope_theta = 10000;
};

/// One request for attention probabilities of the stage's layer. The engine reduces over heads.
struct ScoreRequest {
  RowSet rows = RowSet::last;
  ColumnSet columns = ColumnSet::visual;
  ConstTensorView row_weights;  // as in ScoreArgs
  Reduction row_reduction = Reduction::sum;
  Reduction head_reduction = Reduction::sum;

  /// Of the answer: [heads or nothing, rows or nothing, columns].
  Shape shape(std::int64_t heads, std::int64_t row_count, std::int64_t column_count) const {
    const bool each_row = row_reduction == Reduction::none;
    if (head_reduction == Reduction::none) {
      return each_row ? Shape{heads, row_count, column_count} : Shape{heads, column_count};
    }
    return each_row ? Shape{row_count, column_count} : Shape{column_count};
  }
};

/// What a stage sees. Implemented by the engine, and by tests with hand-made numbers.
class StageInput {
 public:
  virtual ~StageInput() = default;
  /// Ids of the visual tokens present before the stage, in sequence order: that of the prompt, then
  /// tokens that an earlier stage merged and appended, each under the id of its first source.
  virtual std::span<const std::int32_t> visual_ids() const = 0;
  virtual const SequenceLayout& layout() const = 0;
  /// Number of query rows in a set, at this stage.
  virtual std::int64_t row_count(RowSet rows) const = 0;
  /// Rotary positions of the rows in a set, at this stage.
  virtual std::vector<std::int32_t> positions(RowSet rows) const = 0;
  /// f32 [heads or nothing, rows or nothing, columns] (see ScoreArgs::out); lives in the workspace
  /// of `context`, which is the host's or, for a policy that selects on a GPU, that GPU's.
  virtual Result<TensorView> scores(Context& context, const ScoreRequest& request) = 0;
  /// Hidden states of the visual tokens present: f32 [m, hidden].
  virtual Result<ConstTensorView> visual_hidden(Context& context) = 0;
  /// Keys of the visual tokens present, averaged over heads: f32 [m, head_dim]. Offered by vision
  /// towers. Errors: unsupported.
  virtual Result<ConstTensorView> visual_keys(Context&) {
    return make_error(ErrorCode::unsupported, "this stage does not offer the keys of its tokens");
  }
  /// Hidden states of the TokenKind::text tokens present: f32 [t, hidden].
  virtual Result<ConstTensorView> text_hidden(Context& context) = 0;
};

class Policy {
 public:
  virtual ~Policy() = default;
  virtual std::string name() const = 0;
  /// True when it ranks by a score that adjustments (debiasing) may change.
  virtual bool takes_adjustments() const { return false; }
  /// True when it acts in the vision tower: it is then asked about the tower's own tokens (class
  /// token first, one picture at a time), and all its stages have Hook::vit_block.
  virtual bool in_vision_tower() const { return false; }
  /// Decides stages and counts. A stage that would keep everything must be left out, so that
  /// keep-all runs are bit-identical to runs without pruning. Errors: usage (counts that rise,
  /// layers the model does not have), unsupported.
  virtual Result<PruningPlan> plan(const SequenceLayout& layout, const ModelShape& shape) = 0;
  /// True when select() and read_embeddings() take a GPU's context too. They then look at nothing
  /// of the GPU's on the host, and leave the selection there; where its number depends on the
  /// scores, it is the stage's device_count.
  virtual bool selects_on_device(const SequenceLayout&) const { return false; }
  /// Called once a prompt, before its first layer, when plan().reads_embeddings: `input` offers the
  /// hidden states that enter layer 0 and no attention. For methods that decide something early
  /// without cutting, so that snapshots of a shared prefix stay possible.
  virtual Status read_embeddings(Context&, StageInput& input) {
    static_cast<void>(input);
    return {};
  }
  /// Fills `selection` for plan().stages[stage_index]; views are taken from context.workspace.
  virtual Status select(Context& context, int stage_index, StageInput& input,
                        Selection& selection) = 0;
};

}  // namespace fovea
