#pragma once
// What rows of a prompt pay each visual token, layer by layer: the statistics that schedules and
// recipes are calibrated on.

#include <vector>

#include "pruning/policy.h"
#include "vlm/attention_observer.h"

namespace fovea {

/// Watches one prefill and keeps [layers, visual tokens] numbers for each profile asked for; no map
/// is stored. Rows of a decode step are passed over.
class AttentionProfiles final : public AttentionObserver {
 public:
  struct Request {
    RowSet rows = RowSet::text;  // text or visual
    Reduction row_reduction = Reduction::sum;
    Reduction head_reduction = Reduction::mean;
  };

  /// `layout` must outlive the run it watches.
  AttentionProfiles(const SequenceLayout& layout, std::vector<Request> requests);

  std::span<const std::int32_t> prompt_rows() const override { return rows_; }
  Status observe(Context& context, const LayerAttention& attention) override;

  /// By request: [layer][visual token by id]; a token that did not enter the decoder has 0.
  const std::vector<std::vector<float>>& profile(std::size_t request) const {
    return profiles_[request];
  }

 private:
  const SequenceLayout& layout_;
  std::vector<Request> requests_;
  std::vector<std::int32_t> rows_;
  std::vector<std::vector<std::vector<float>>> profiles_;
};

}  // namespace fovea
