#include "vlm/attention_map.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fovea {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Two pictures of 2 x 3 and 1 x 2 cells, the first with a token that has no cell; values say
/// where they come from: 1000 layer + 100 head + 10 token + id.
class NumberedTrace : public Trace {
 public:
  NumberedTrace() {
    layout_.visual.push_back({.image = 0});  // a class token
    for (int row = 0; row < 2; ++row) {
      for (int col = 0; col < 3; ++col) add(0, row, col, 10.0F, 5.0F);
    }
    for (int col = 0; col < 2; ++col) add(1, 0, col, 7.0F, 0.0F);
  }
  int layers() const override { return 4; }
  int heads() const override { return 2; }
  int tokens() const override { return 3; }
  const SequenceLayout& layout() const override { return layout_; }
  Result<std::vector<float>> visual_map(Context&, int layer, int token) const override {
    std::vector<float> map;
    for (int head = 0; head < heads(); ++head) {
      for (int id = 0; id < static_cast<int>(layout_.visual.size()); ++id) {
        const bool pruned = id == pruned_id && layer >= pruned_layer;
        map.push_back(pruned ? kNaN
                             : static_cast<float>(1000 * layer + 100 * head + 10 * token + id));
      }
    }
    return map;
  }

  int pruned_id = -1, pruned_layer = 0;

 private:
  void add(int image, int row, int col, float size, float origin) {
    VisualToken token;
    token.image = image;
    token.row = row;
    token.col = col;
    token.x = origin + size * static_cast<float>(col);
    token.y = size * static_cast<float>(row) - origin;
    token.width = token.height = size;
    layout_.visual.push_back(token);
  }
  SequenceLayout layout_;
};

TEST(AttentionMap, default_layers_exist_in_models_of_any_depth) {
  for (int layers = 1; layers <= 40; ++layers) {
    const auto chosen = default_layers(layers);
    ASSERT_FALSE(chosen.empty());
    EXPECT_GE(chosen.front(), 0);
    EXPECT_EQ(chosen.back(), layers - 1);
  }
}

TEST(AttentionMap, every_value_lands_in_its_cell) {
  Context context;
  const NumberedTrace trace;
  const std::vector<int> layers{1, 3}, tokens{0, 2};
  const auto volumes = collect_attention(context, trace, layers, tokens);
  ASSERT_TRUE(volumes) << volumes.error().to_string();
  ASSERT_EQ(volumes->size(), 2U);
  const int first_id[] = {1, 7};
  for (std::size_t image = 0; image < 2; ++image) {
    const AttentionVolume& volume = (*volumes)[image];
    ASSERT_EQ(volume.values.size(), 2U * 2U * 2U * static_cast<std::size_t>(volume.cells()));
    std::size_t index = 0;
    for (const int layer : layers) {
      for (int head = 0; head < 2; ++head) {
        for (const int token : tokens) {
          for (int cell = 0; cell < volume.cells(); ++cell) {
            EXPECT_EQ(volume.values[index++],
                      static_cast<float>(1000 * layer + 100 * head + 10 * token + first_id[image] +
                                         cell));
          }
        }
      }
    }
  }
  EXPECT_EQ((*volumes)[0].rows, 2);
  EXPECT_EQ((*volumes)[0].cols, 3);
  EXPECT_EQ((*volumes)[0].rect.x, 5.0);
  EXPECT_EQ((*volumes)[0].rect.y, -5.0);
  EXPECT_EQ((*volumes)[0].rect.width, 30.0);
  EXPECT_EQ((*volumes)[0].rect.height, 20.0);
  EXPECT_EQ((*volumes)[1].rect.width, 14.0);
}

TEST(AttentionMap, the_mean_is_over_heads_layers_and_tokens) {
  Context context;
  const NumberedTrace trace;
  const auto volumes = collect_attention(context, trace, {1, 3}, {0, 2});
  ASSERT_TRUE(volumes);
  const GridMap all = mean_map((*volumes)[0]);
  const GridMap last = mean_map((*volumes)[0], 1);
  ASSERT_EQ(all.values.size(), 6U);
  for (int cell = 0; cell < 6; ++cell) {
    // Layers 1 and 3, heads 0 and 1, tokens 0 and 2; ids begin at 1.
    EXPECT_FLOAT_EQ(all.values[static_cast<std::size_t>(cell)], 2000.0F + 50.0F + 10.0F + 1 + cell);
    EXPECT_FLOAT_EQ(last.values[static_cast<std::size_t>(cell)],
                    2000.0F + 50.0F + 20.0F + 1 + cell);
  }
}

TEST(AttentionMap, pruned_cells_are_averaged_over_the_layers_that_saw_them) {
  Context context;
  NumberedTrace trace;
  trace.pruned_id = 1;
  trace.pruned_layer = 2;
  const auto both = collect_attention(context, trace, {1, 3}, {0});
  const auto late = collect_attention(context, trace, {2, 3}, {0});
  ASSERT_TRUE(both && late);
  EXPECT_FLOAT_EQ(mean_map((*both)[0]).values[0], 1000.0F + 50.0F + 1.0F);
  EXPECT_TRUE(std::isnan(mean_map((*late)[0]).values[0]));
  EXPECT_FALSE(std::isnan(mean_map((*late)[0]).values[1]));
}

}  // namespace
}  // namespace fovea
