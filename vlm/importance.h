#pragma once
// How much a model's text looked at each visual token, summed while it reads and answers (SGL,
// arXiv 2412.03324, section 3).

#include <vector>

#include "kernels/fetch.h"
#include "pruning/policy.h"
#include "vlm/attention_observer.h"

namespace fovea {

/// Sums the attention probabilities of text rows to each visual token over all layers and heads in
/// float32: the prompt's rows of one set, and the row of every answer token that was fed.
class Importance final : public AttentionObserver {
 public:
  /// RowSet::text is the paper's set, RowSet::from_last_visual the released code's, which begins at
  /// the last visual token's own row. `layout` must outlive this.
  Importance(const SequenceLayout& layout, RowSet rows);

  std::span<const std::int32_t> prompt_rows() const override { return rows_; }
  Status observe(Context& context, const LayerAttention& attention) override;

  /// By visual token id. Waits for what a GPU has yet to tell. Errors: device.
  Result<std::vector<float>> sums();

 private:
  /// One layer's part, on its way to the host.
  struct Part {
    std::vector<std::int32_t> ids;
    Arriving probabilities;  // the bits of float32 numbers
  };
  Status add_parts();

  const SequenceLayout& layout_;
  std::vector<std::int32_t> rows_;
  std::vector<float> sums_;
  std::vector<Part> parts_;
};

}  // namespace fovea
