#pragma once
// The trace of one answer: its query rows and the keys that were resident.

#include <memory>
#include <vector>

#include "vlm/decoder.h"
#include "vlm/llava_model.h"
#include "vlm/trace.h"

namespace fovea {

class DecoderTrace final : public Trace {
 public:
  DecoderTrace(std::shared_ptr<const LlavaModel> model, SequenceLayout layout)
      : model_(std::move(model)), layout_(std::move(layout)) {}

  /// The row that predicted the next answer token.
  TracedRow& add_row() { return rows_.emplace_back(); }
  /// Forgets a row whose run was stopped half-way.
  void drop_row() { rows_.pop_back(); }
  /// Keeps the keys: pages are shared with `state`, not copied.
  void finish(const DecoderState& state) { state_ = state; }

  int layers() const override { return static_cast<int>(model_->config().decoder.layers); }
  int heads() const override { return static_cast<int>(model_->config().decoder.heads); }
  int tokens() const override { return static_cast<int>(rows_.size()); }
  const SequenceLayout& layout() const override { return layout_; }
  Result<std::vector<float>> visual_map(Context& context, int layer, int token) const override;

 private:
  /// visual_map() with a context on the model's device.
  Result<std::vector<float>> map_of(Context& context, int layer, int token) const;

  std::shared_ptr<const LlavaModel> model_;
  SequenceLayout layout_;
  DecoderState state_;
  std::vector<TracedRow> rows_;
};

}  // namespace fovea
