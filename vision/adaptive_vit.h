#pragma once
// Adaptive Sparse ViT inside the encoder: scores from what attention exports, rows that leave
// between blocks, and where the thresholds come from.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/base/json.h"
#include "kernels/weights/safetensors.h"
#include "pruning/accounting.h"
#include "pruning/vit/adaptive_vit.h"
#include "vision/vit.h"

namespace fovea {

/// A block's scores of one picture's patches (the tokens behind the special ones), from query, key
/// and lse of the class token's row alone and the lengths of what attention gathered: work and
/// memory linear in the tokens. f32 [patches] in the context's workspace. Errors: those of
/// attention_scores().
Result<TensorView> vit_token_scores(Context& context, const VitBlockView& block,
                                    std::int64_t picture, std::int64_t prefix_tokens);

/// What pruning did to one picture.
struct VitPruneRecord {
  std::vector<StageRecord> stages;            // kept: raster indices of patches, ascending
  std::vector<std::int64_t> tokens_entering;  // per block, special tokens included
  /// Per block, where merging leaves fewer between attention and MLP; else empty.
  std::vector<std::int64_t> tokens_after_attention;
};

/// Runs VitPruning over the batches of an encoder. One pass at a time.
class VitPruneReducer : public VitReducer {
 public:
  /// `settings` were checked against the encoder's blocks.
  VitPruneReducer(VitPruneSettings settings, const VitConfig& config)
      : settings_(std::move(settings)),
        prefix_(config.prefix_tokens()),
        patches_(config.patches()) {}

  /// Identities of the next batch's pictures, for draws by lot; without it their places count.
  void name_pictures(std::vector<std::uint64_t> keys) { keys_ = std::move(keys); }

  Status before_block(Context& context, int layer, const VitRows& rows,
                      std::vector<std::int32_t>& keep) override;
  bool watches(int layer) const override;
  Status after_block(Context& context, const VitBlockView& block) override;

  /// What the next cut of the running pass would compare: scores of a picture's patches present.
  Result<std::vector<float>> state(Context& context, std::int64_t picture) const {
    return pruning_->state(context, picture);
  }
  /// Of the pass that has just run, by picture.
  const std::vector<VitPruneRecord>& records() const { return records_; }

 private:
  VitPruneSettings settings_;
  std::int64_t prefix_, patches_;
  std::vector<std::uint64_t> keys_;
  std::optional<VitPruning> pruning_;  // of the batch that runs
  std::vector<VitPruneRecord> records_;
};

/// Work of one picture, in the paper's units.
VitWork vit_work(const VitConfig& config);

// ---- Thresholds --------------------------------------------------------------------------------

/// Thresholds and where they belong. Scores share out about one over the patches, so that
/// thresholds move with their number: settings_for() scales them where a picture has more or fewer
/// patches than they were found at.
struct VitThresholds {
  std::vector<int> blocks;
  std::vector<double> thresholds;
  VitScoreState state = VitScoreState::last;
  std::int64_t patches = 0;  // they were found at; 0: unknown, never scaled
  std::string origin;        // "checkpoint", "calibration", or what a file says

  VitPruneSettings settings_for(std::int64_t run_patches) const;
  Json to_json() const;
};

/// The file `fovea calibrate vit` writes: {"method": "adaptive", "blocks": [4, 7, 10],
/// "thresholds":
/// [...], "score": "last", "patches": 196, "origin": "..."}. Errors: bad_input, naming the field.
Result<VitThresholds> parse_vit_thresholds(const Json& json, const std::string& file);

/// `score_predictor.N.keep_threshold` of a trained checkpoint (section 9), cut before `blocks` (one
/// per threshold; the default of default_vit_cuts() when empty). Nothing where the file has none.
/// Errors: bad_model (shapes, numbers that are not finite, another number of blocks).
Result<std::optional<VitThresholds>> checkpoint_vit_thresholds(const WeightFiles& files,
                                                               const VitConfig& config,
                                                               std::vector<int> blocks);

const char* vit_score_state_name(VitScoreState state);  // "last", "accu", "ema"
std::optional<VitScoreState> find_vit_score_state(const std::string& name);

}  // namespace fovea
