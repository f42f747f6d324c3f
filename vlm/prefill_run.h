#pragma once
// One prompt on its way through the layers: what it carries from one to the next, and the stages
// that act on it in between. Decoder's own source files drive it, alone or beside others.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/fetch.h"
#include "vlm/decoder.h"
#include "vlm/decoder_block.h"
#include "vlm/device_cut.h"
#include "vlm/stage_runner.h"
#include "vlm/stopwatch.h"

namespace fovea {

/// When a stage runs, seen from one layer.
enum class Moment { before, bypass, after_attention, after };

/// Errors: usage and unsupported for stages that a decoder of so many layers does not offer.
Status check_plan(const PruningPlan& plan, int layers);

/// Everything one prefill carries from layer to layer.
class PrefillRun {
 public:
  PrefillRun(Context& context, const DecoderConfig& config, const PrefillInput& input,
             DecoderState& state, PruningRecord* record)
      : context_(context), config_(config), input_(input), state_(state), record_(record) {}

  /// room: [prompt tokens, hidden] f32 where the hidden states shall begin, or empty: a place of
  /// its own.
  Status start(int boundary, TensorView room = {});
  /// Puts the prefix's hidden states in front once the boundary is reached, and keeps them when
  /// asked.
  Status reach(int layer);
  /// Stages that act on what enters `layer`, before it runs.
  Status run_stages_before(int layer, const DecoderBlock& block);
  Status run_stages(Moment moment, int layer, const BlockAttention* attention);
  /// The same one by one: which act, in order, and each of them.
  std::vector<std::size_t> acting(Moment moment, int layer) const;
  Status act_before(std::size_t index, const DecoderBlock& block);
  Status act(std::size_t index, int layer, const BlockAttention* attention);
  /// Where the next stage puts what it leaves: as wide, with room for every row there is.
  void move_to(TensorView target);
  /// Rows that take part in the layer's attention; empty: all.
  Result<std::vector<std::int32_t>> attending_rows(int layer, const BlockProjection& projection);
  /// Keys of `layer` that belong to rows whose queries its stages, an observer and, when asked, a
  /// trace of the last row want to see.
  Result<std::vector<std::int32_t>> wanted_slots(int layer, bool last_row);
  /// Whether rows other than the last are needed past the attention of `layer`.
  bool stages_after(int layer) const;
  /// Rows at the end that are needed past the keys and values of the last layer.
  std::int64_t rows_past_the_end() const;
  void enter(int layer);
  /// Rotary positions of the rows, where the context computes.
  Result<ConstTensorView> positions();
  /// Waits until the host knows who survived the last cut.
  Status settle();

  LiveSequence sequence;

 private:
  Status read_embeddings();
  /// When the first thing was done for a stage, and where its cut is made.
  struct StageStart {
    bool on_device = false;
    Stopwatch watch;
    Milestone there;  // on a device that the host does not wait for
  };
  Result<StageStart> begin_stage(std::size_t index);
  Status run_stage(std::size_t index, const StageAttention* attention, const StageStart& start);
  Status cut_on_device(std::size_t index, LayerStage& view, const StageStart& start);
  /// Rotary positions of prompt tokens before any stage.
  std::vector<std::int32_t> positions_of(const std::vector<std::int32_t>& origin) const;
  Result<Selection> select(std::size_t index, LayerStage& view, const StageStart& start);
  /// A selection that lies on a GPU, its count included, comes to the host.
  Status fetch_selection(Selection& selection);
  /// Rows of the sequence as it is that a stage asks for, ascending.
  std::vector<std::int32_t> stage_rows(const Stage& stage) const;
  Result<BlockAttention> preview(const Stage& stage, const BlockProjection& projection) const;
  StageAttention at_layer(const BlockAttention& block, const KvView& kv) const;
  std::span<const Stage> stages() const {
    if (input_.policy == nullptr || input_.plan == nullptr) return {};
    return input_.plan->stages;
  }

  Context& context_;
  const DecoderConfig& config_;
  const PrefillInput& input_;
  DecoderState& state_;
  PruningRecord* record_;
  int boundary_ = 0;
  std::int32_t end_position_ = 0;  // after the whole prompt
  TensorView buffers_[2];          // hidden states before and after a stage
  int current_ = 0;
  TensorView positions_[2];  // on a GPU: the first holds those of `uploaded_`
  std::vector<std::int32_t> uploaded_;

  /// The last cut, when the host does not know its survivors yet.
  struct Unsettled {
    DeviceCut cut;
    Milestone start, end;    // of the selection; only with a record
    std::size_t record = 0;  // its place among the stages of the record
  };
  std::optional<Unsettled> unsettled_;
};

}  // namespace fovea
