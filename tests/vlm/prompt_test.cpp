// Prompts as token ids: where each visual token comes from and stands, with and without pruning in
// the vision tower.

#include "vlm/prompt.h"

#include <gtest/gtest.h>

namespace fovea {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr std::int32_t kPicture = 7;  // the placeholder

/// A tower of 2 x 2 patches of 14 pixels.
LlavaConfig config(bool drop_class_token) {
  LlavaConfig config;
  config.vision.image_size = 28;
  config.vision.patch_size = 14;
  config.image_token_id = kPicture;
  config.drop_class_token = drop_class_token;
  return config;
}

EncodedPrompt encode(const Ids& ids, const std::vector<PromptPicture>& pictures,
                     bool drop_class_token = true) {
  auto prompt = encode_ids(ids, pictures, config(drop_class_token));
  EXPECT_TRUE(prompt) << prompt.error().to_string();
  return prompt ? std::move(*prompt) : EncodedPrompt{};
}

const Ids kTwoPictures{1,        kPicture, kPicture, kPicture, kPicture, 2,
                       kPicture, kPicture, kPicture, kPicture, 3};

TEST(Prompt, ids_run_through_all_pictures_and_cells_lie_on_the_original) {
  const EncodedPrompt prompt =
      encode(kTwoPictures, {{5, {0, -10, 40, 40}, {40, 20}}, {6, {0, 0, 28, 28}, {28, 28}}});
  EXPECT_EQ(prompt.layout.visual_ids, (Ids{-1, 0, 1, 2, 3, -1, 4, 5, 6, 7, -1}));
  EXPECT_EQ(prompt.layout.visual_count(), 8);
  EXPECT_EQ(prompt.unpruned_visual, 8);
  const VisualToken& second = prompt.layout.visual[1];
  EXPECT_EQ(second.row, 0);
  EXPECT_EQ(second.col, 1);
  EXPECT_EQ(second.x, 20.0f);
  EXPECT_EQ(second.y, -10.0f);
  EXPECT_EQ(second.width, 20.0f);
  ASSERT_EQ(prompt.layout.pictures.size(), 2u);
  EXPECT_EQ(prompt.layout.pictures[0].height, 20);
  EXPECT_EQ(prompt.layout.pictures[1].width, 28);
  EXPECT_EQ(prompt.original_positions, (Ids{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
}

TEST(Prompt, survivors_of_the_vision_tower_keep_id_cell_and_place) {
  // Patches 3 and 0 of the first picture, in this order; all of the second.
  const Ids rows{4, 1};
  std::vector<PromptPicture> pictures(2);
  pictures[0].tower_rows = &rows;
  const EncodedPrompt prompt =
      encode({1, kPicture, kPicture, 2, kPicture, kPicture, kPicture, kPicture, 3}, pictures);
  EXPECT_EQ(prompt.layout.visual_ids, (Ids{-1, 3, 0, -1, 4, 5, 6, 7, -1}));
  EXPECT_EQ(prompt.layout.id_count(), 8);
  EXPECT_EQ(prompt.layout.visual_count(), 6);
  EXPECT_EQ(prompt.unpruned_visual, 8);
  EXPECT_EQ(prompt.layout.visual[3].row, 1);
  EXPECT_EQ(prompt.layout.visual[3].col, 1);
  EXPECT_EQ(prompt.original_positions, (Ids{0, 4, 1, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(prompt.features[1].row, 0);
  EXPECT_EQ(prompt.features[2].row, 1);
  EXPECT_EQ(prompt.features[4].picture, 1);
}

TEST(Prompt, a_class_token_that_pruning_passes_on_has_an_id_after_all_others_and_no_cell) {
  const Ids rows{0, 2};
  std::vector<PromptPicture> pictures(2);
  pictures[0].tower_rows = pictures[1].tower_rows = &rows;
  const EncodedPrompt prompt = encode({1, kPicture, kPicture, 2, kPicture, kPicture}, pictures);
  EXPECT_EQ(prompt.layout.visual_ids, (Ids{-1, 8, 1, -1, 9, 5}));
  EXPECT_EQ(prompt.layout.id_count(), 10);
  EXPECT_EQ(prompt.layout.visual[9].row, -1);
  EXPECT_EQ(prompt.layout.visual[9].image, 1);
  EXPECT_EQ(prompt.original_positions, (Ids{0, 1, 2, 5, 6, 7}));
}

TEST(Prompt, a_model_that_selects_the_class_token_numbers_it_first) {
  const Ids rows{0, 4};
  std::vector<PromptPicture> pictures(1);
  pictures[0].tower_rows = &rows;
  const EncodedPrompt prompt = encode({kPicture, kPicture, 1}, pictures, false);
  EXPECT_EQ(prompt.layout.visual_ids, (Ids{0, 4, -1}));
  EXPECT_EQ(prompt.layout.id_count(), 5);
  EXPECT_EQ(prompt.original_positions, (Ids{0, 4, 5}));
}

TEST(Prompt, another_choice_of_survivors_has_other_keys) {
  const Ids some{1, 2}, others{1, 3};
  std::vector<PromptPicture> pictures(1);
  pictures[0].tower_rows = &some;
  const EncodedPrompt first = encode({1, kPicture, kPicture}, pictures);
  pictures[0].tower_rows = &others;
  const EncodedPrompt second = encode({1, kPicture, kPicture}, pictures);
  EXPECT_EQ(first.keys[1], second.keys[1]);
  EXPECT_NE(first.keys[2], second.keys[2]);
}

}  // namespace
}  // namespace fovea
