#include "gui/token_maps.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "vlm/attention_map.h"

namespace fovea::gui {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// One picture of 2 x 2 cells; values say where they come from: 100 layer + 10 head + id.
class NumberedTrace : public Trace {
 public:
  NumberedTrace() {
    for (int id = 0; id < 4; ++id) {
      VisualToken token;
      token.row = id / 2;
      token.col = id % 2;
      token.x = 10.0F * static_cast<float>(token.col);
      token.y = 10.0F * static_cast<float>(token.row);
      token.width = token.height = 10;
      layout_.visual.push_back(token);
      layout_.kinds.push_back(TokenKind::visual);
      layout_.visual_ids.push_back(id);
    }
  }
  int layers() const override { return 3; }
  int heads() const override { return 2; }
  int tokens() const override { return 2; }
  const SequenceLayout& layout() const override { return layout_; }
  Result<std::vector<float>> visual_map(Context&, int layer, int token) const override {
    if (token >= tokens()) return make_error(ErrorCode::usage, "no such token");
    std::vector<float> map;
    for (int head = 0; head < 2; ++head) {
      for (int id = 0; id < 4; ++id) {
        const bool pruned = id == 3 && layer >= 1;
        map.push_back(pruned ? kNaN : static_cast<float>(100 * layer + 10 * head + id));
      }
    }
    return map;
  }

 private:
  SequenceLayout layout_;
};

TokenMaps numbered() {
  Context context;
  const NumberedTrace trace;
  auto maps = compute_token_maps(context, trace, 0);
  EXPECT_TRUE(maps);
  return *maps;
}

TEST(TokenMaps, one_layer_and_head_is_the_trace_itself) {
  const auto values = reduce_maps(numbered(), {2, {HeadChoice::Kind::one, 1}});
  EXPECT_EQ(values[0], 210);
  EXPECT_EQ(values[2], 212);
  EXPECT_TRUE(std::isnan(values[3]));
}

TEST(TokenMaps, heads_are_averaged_or_the_largest_is_taken) {
  EXPECT_EQ(reduce_maps(numbered(), {1, {HeadChoice::Kind::mean, 0}})[1], 106);
  EXPECT_EQ(reduce_maps(numbered(), {1, {HeadChoice::Kind::max, 0}})[1], 111);
}

TEST(TokenMaps, the_mean_of_layers_is_the_map_that_the_command_draws) {
  Context context;
  const NumberedTrace trace;
  const auto volumes = collect_attention(context, trace, default_layers(3), {0});
  ASSERT_TRUE(volumes);
  const GridMap drawn = mean_map(volumes->front());
  const auto values = reduce_maps(numbered(), {});
  for (std::size_t id = 0; id < 3; ++id) EXPECT_FLOAT_EQ(values[id], drawn.values[id]);
  EXPECT_TRUE(std::isnan(values[3]));
  EXPECT_TRUE(std::isnan(drawn.values[3]));
}

TEST(TokenMaps, the_share_adds_up_what_is_left_of_the_picture) {
  EXPECT_DOUBLE_EQ(attention_share(numbered(), {0, {HeadChoice::Kind::one, 0}}), 0 + 1 + 2 + 3);
  EXPECT_DOUBLE_EQ(attention_share(numbered(), {1, {HeadChoice::Kind::one, 0}}), 100 + 101 + 102);
  EXPECT_DOUBLE_EQ(attention_share(numbered(), {0, {HeadChoice::Kind::mean, 0}}), (6 + 46) / 2.0);
  EXPECT_DOUBLE_EQ(attention_share(numbered(), {0, {HeadChoice::Kind::max, 0}}), 46);
}

TEST(TokenMaps, errors_of_the_trace_come_through) {
  Context context;
  const NumberedTrace trace;
  const auto maps = compute_token_maps(context, trace, 9);
  ASSERT_FALSE(maps);
  EXPECT_EQ(maps.error().code, ErrorCode::usage);
}

}  // namespace
}  // namespace fovea::gui
