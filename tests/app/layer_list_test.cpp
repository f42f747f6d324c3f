#include "app/layer_list.h"

#include <gtest/gtest.h>

#include "vlm/attention_map.h"

namespace fovea::app {
namespace {

TEST(LayerList, layers_are_read_as_all_ranges_and_lists) {
  EXPECT_EQ(*parse_layers("all", 3), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(*parse_layers("2-4", 6), (std::vector<int>{2, 3, 4}));
  EXPECT_EQ(*parse_layers("5,1,2-3,2", 6), (std::vector<int>{1, 2, 3, 5}));
  EXPECT_EQ(*parse_layers("", 6), default_layers(6));
  for (const char* bad :
       {"6", "-1", "3-2", "a", "1,", ",1", "1-", "1 2", "1--2", "0-99999999999"}) {
    const auto layers = parse_layers(bad, 6);
    ASSERT_FALSE(layers) << bad;
    EXPECT_EQ(layers.error().code, ErrorCode::usage);
  }
}

}  // namespace
}  // namespace fovea::app
