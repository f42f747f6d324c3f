#pragma once
// A pruning stage with hand-made attention, so that a policy is tested by numbers alone.

#include <algorithm>
#include <vector>

#include "pruning/policy.h"

namespace fovea::testing {

/// A prompt of `system` text tokens, `visual` visual tokens in a grid `cols` wide, and `text`
/// tokens.
inline SequenceLayout simple_layout(int system, int visual, int text, int cols = 24) {
  SequenceLayout layout;
  const auto add = [&](TokenKind kind, int id) {
    layout.kinds.push_back(kind);
    layout.visual_ids.push_back(id);
  };
  for (int i = 0; i < system; ++i) add(TokenKind::system, -1);
  for (int i = 0; i < visual; ++i) {
    add(TokenKind::visual, i);
    VisualToken token;
    token.row = i / cols;
    token.col = i % cols;
    layout.visual.push_back(token);
  }
  for (int i = 0; i < text; ++i) add(TokenKind::text, -1);
  return layout;
}

/// Attention given as [head][row][column] for the rows and columns of one stage; rows_* name which
/// rows of the matrix form a set.
class FakeStage final : public StageInput {
 public:
  using Maps = std::vector<std::vector<std::vector<float>>>;

  explicit FakeStage(SequenceLayout layout) : layout_(std::move(layout)) {
    for (std::int32_t id = 0; id < layout_.visual_count(); ++id) ids_.push_back(id);
  }

  // [head][row][column] over visual and text columns, for each row set that the test uses.
  Maps last_visual, text_visual, text_text, visual_visual, probes_all, class_visual;
  std::vector<std::vector<float>> visual_states, text_states, visual_key_means;
  std::vector<std::int32_t> visual_positions, text_positions;

  void set_visual_ids(std::vector<std::int32_t> ids) { ids_ = std::move(ids); }
  std::span<const std::int32_t> visual_ids() const override { return ids_; }
  const SequenceLayout& layout() const override { return layout_; }
  std::int64_t row_count(RowSet rows) const override {
    return static_cast<std::int64_t>(maps(rows, ColumnSet::visual)[0].size());
  }
  std::vector<std::int32_t> positions(RowSet rows) const override {
    return rows == RowSet::visual ? visual_positions : text_positions;
  }

  Result<TensorView> scores(Context& context, const ScoreRequest& request) override {
    const Maps& p = maps(request.rows, request.columns);
    const auto heads = static_cast<std::int64_t>(p.size());
    const auto rows = static_cast<std::int64_t>(p[0].size());
    const auto columns = static_cast<std::int64_t>(rows > 0 ? p[0][0].size() : 0);
    const auto weight = [&](std::int64_t h, std::int64_t r) {
      if (request.row_weights.empty()) return 1.0f;
      return request.row_weights.shape.rank() == 1 ? request.row_weights.as<float>()[r]
                                                   : request.row_weights.row<float>(h)[r];
    };
    Shape shape{columns};
    if (request.row_reduction == Reduction::none) shape = Shape{rows, columns};
    if (request.head_reduction == Reduction::none) {
      shape = request.row_reduction == Reduction::none ? Shape{heads, rows, columns}
                                                       : Shape{heads, columns};
    }
    FOVEA_TRY(const TensorView out, context.workspace.take(shape, DType::f32));
    std::fill_n(out.as<float>(), shape.elements(), 0.0f);
    const auto at = [&](std::int64_t h, std::int64_t r, std::int64_t c) -> float& {
      std::int64_t index = c;
      if (request.row_reduction == Reduction::none) index += r * columns;
      if (request.head_reduction == Reduction::none) {
        index += h * columns * (request.row_reduction == Reduction::none ? rows : 1);
      }
      return out.as<float>()[index];
    };
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        float head_max = 0;
        for (std::int64_t h = 0; h < heads; ++h) {
          float value = p[static_cast<std::size_t>(h)][static_cast<std::size_t>(r)]
                         [static_cast<std::size_t>(c)] *
                        weight(h, r);
          if (request.row_reduction == Reduction::mean) value /= static_cast<float>(rows);
          if (request.head_reduction == Reduction::mean) value /= static_cast<float>(heads);
          if (request.head_reduction == Reduction::max) {
            head_max = std::max(head_max, value);
          } else {
            at(h, r, c) += value;
          }
        }
        if (request.head_reduction == Reduction::max) at(0, r, c) += head_max;
      }
    }
    return out;
  }

  Result<ConstTensorView> visual_hidden(Context& context) override {
    return copy(context, visual_states);
  }
  Result<ConstTensorView> visual_keys(Context& context) override {
    return copy(context, visual_key_means);
  }
  Result<ConstTensorView> text_hidden(Context& context) override {
    return copy(context, text_states);
  }

 private:
  const Maps& maps(RowSet rows, ColumnSet columns) const {
    if (rows == RowSet::last) return last_visual;
    if (rows == RowSet::visual) return visual_visual;
    if (rows == RowSet::probes) return probes_all;
    if (rows == RowSet::class_token) return class_visual;
    return columns == ColumnSet::visual ? text_visual : text_text;
  }
  static Result<ConstTensorView> copy(Context& context,
                                      const std::vector<std::vector<float>>& states) {
    const auto rows = static_cast<std::int64_t>(states.size());
    FOVEA_TRY(const TensorView out,
              context.workspace.take(Shape{rows, static_cast<std::int64_t>(states[0].size())},
                                     DType::f32));
    for (std::int64_t r = 0; r < rows; ++r) {
      std::copy(states[static_cast<std::size_t>(r)].begin(),
                states[static_cast<std::size_t>(r)].end(), out.row<float>(r));
    }
    return ConstTensorView(out);
  }

  SequenceLayout layout_;
  std::vector<std::int32_t> ids_;
};

/// Indices a selection keeps, where each survivor has one source.
inline std::vector<std::int32_t> kept(const Selection& selection) {
  const std::int32_t* sources = selection.sources.as<std::int32_t>();
  const std::int64_t count = selection.device_count.empty()
                                 ? selection.count
                                 : *selection.device_count.as<std::int32_t>();
  return {sources, sources + count};
}

}  // namespace fovea::testing
