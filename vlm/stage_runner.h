#pragma once
// Lets a pruning policy act on the sequence between two layers: answers its questions about
// attention and hidden states, and closes the gaps its selection leaves.

#include <span>
#include <vector>

#include "kernels/context.h"
#include "pruning/accounting.h"
#include "pruning/policy.h"
#include "vlm/decoder_block.h"

namespace fovea {

/// The sequence as it stands between two layers.
struct LiveSequence {
  TensorView hidden;                    // [n, hidden] f32
  std::vector<std::int32_t> origin;     // per row: its prompt position
  std::vector<std::int32_t> positions;  // per row: its rotary position
};

/// What a stage may look at of one layer's attention.
struct StageAttention {
  BlockAttention block;  // rows that ran: the last `block.query.rows()` of the sequence
  KvView kv;             // of the same layer
  float scale = 1.0f;
};

class LayerStage final : public StageInput {
 public:
  LayerStage(const SequenceLayout& layout, const LiveSequence& sequence,
             const StageAttention* attention);

  std::span<const std::int32_t> visual_ids() const override { return visual_ids_; }
  const SequenceLayout& layout() const override { return layout_; }
  std::int64_t row_count(RowSet rows) const override;
  Result<TensorView> scores(Context& context, const ScoreRequest& request) override;
  Result<ConstTensorView> visual_hidden(Context& context) override;
  Result<ConstTensorView> text_hidden(Context& context) override;

  /// Rows of the sequence that hold the visual tokens present.
  std::span<const std::int32_t> visual_rows() const { return visual_rows_; }

 private:
  std::vector<std::int32_t> rows_of(RowSet set) const;
  Result<ConstTensorView> gather_hidden(Context& context, std::span<const std::int32_t> rows) const;

  const SequenceLayout& layout_;
  const LiveSequence& sequence_;
  const StageAttention* attention_;
  std::vector<std::int32_t> visual_ids_, visual_rows_, text_rows_;
};

/// Applies a selection: rows of `sequence` move into `target` (same width, at least as many rows),
/// which becomes its hidden buffer; positions follow `mode`. Appends to `record` when not null.
Status apply_selection(Context& context, const Stage& stage, const LayerStage& view,
                       const Selection& selection, PositionMode mode, TensorView target,
                       LiveSequence& sequence, PruningRecord* record);

}  // namespace fovea
