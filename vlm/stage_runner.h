#pragma once
// Lets a pruning policy act on the sequence between two layers: answers its questions about
// attention and hidden states, and closes the gaps its selection leaves.

#include <map>
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
  std::vector<std::int32_t> origin;     // per row: its prompt position (a merged token: of its
                                        // first source); no two rows have the same
  std::vector<std::int32_t> positions;  // per row: its rotary position
  /// By prompt position: ids of all the visual tokens in a merged token, ascending.
  std::map<std::int32_t, std::vector<std::int32_t>> merged;
};

/// Rows of the sequence that belong to a set, ascending.
std::vector<std::int32_t> rows_of(const SequenceLayout& layout, const LiveSequence& sequence,
                                  RowSet set, std::span<const std::int32_t> probes);

/// What a stage may look at of one layer's attention. Row i of the sequence is key i of the layer.
struct StageAttention {
  BlockAttention block;
  KvView kv;  // of the same layer
  float scale = 1.0f;
};

class LayerStage final : public StageInput {
 public:
  /// `engine`: where the layers run; what a policy asks for arrives where its context computes.
  /// attention: null for stages that read none.
  LayerStage(Context& engine, const SequenceLayout& layout, const LiveSequence& sequence,
             const StageAttention* attention, std::span<const std::int32_t> probes);

  std::span<const std::int32_t> visual_ids() const override { return visual_ids_; }
  const SequenceLayout& layout() const override { return layout_; }
  std::int64_t row_count(RowSet rows) const override;
  std::vector<std::int32_t> positions(RowSet rows) const override;
  Result<TensorView> scores(Context& context, const ScoreRequest& request) override;
  Result<ConstTensorView> visual_hidden(Context& context) override;
  Result<ConstTensorView> text_hidden(Context& context) override;

  /// Rows of the sequence that hold the visual tokens present.
  std::span<const std::int32_t> visual_rows() const { return visual_rows_; }

 private:
  Result<ConstTensorView> gather_hidden(Context& context, std::span<const std::int32_t> rows) const;

  Context& engine_;
  const SequenceLayout& layout_;
  const LiveSequence& sequence_;
  const StageAttention* attention_;
  std::span<const std::int32_t> probes_;
  std::vector<std::int32_t> visual_ids_, visual_rows_;
};

/// Writes into `entry` the ids of the visual tokens present.
void list_tokens(const SequenceLayout& layout, const LiveSequence& sequence, StageRecord& entry);

/// The usage error of a cut that would leave no row.
Error nothing_left();

/// What apply_selection() makes of a sequence, all but the hidden states: `sequence` keeps its own.
/// The selection lies in the host's memory.
Status name_survivors(const SequenceLayout& layout, const LiveSequence& before,
                      const Selection& selection, PositionMode mode, LiveSequence& sequence);

/// Applies a selection: rows of `sequence` move into `target` (same width, at least as many rows),
/// which becomes its hidden buffer; positions follow `mode`. Appends to `record` when not null.
/// Errors: usage when nothing would be left of the prompt, internal for a selection that breaks its
/// contract.
Status apply_selection(Context& context, const Stage& stage, const LayerStage& view,
                       const Selection& selection, PositionMode mode, TensorView target,
                       LiveSequence& sequence, PruningRecord* record);

/// Rows that take part in a layer's attention under a bypass stage: the selection's tokens and all
/// that are not visual, ascending; empty when that is every row. Appends to `record` when not null.
Result<std::vector<std::int32_t>> apply_bypass(const Stage& stage, const LayerStage& view,
                                               const Selection& selection,
                                               const LiveSequence& sequence, PruningRecord* record);

}  // namespace fovea
