#include <gtest/gtest.h>

#include <cmath>

#include "command.h"
#include "kernels/base/npy.h"
#include "vision/image.h"

namespace fovea::testing {
namespace {

namespace fs = std::filesystem;

class Heatmap : public ::testing::Test {
 protected:
  CommandResult run(const std::vector<std::string>& more,
                    const std::string& image = eval_picture()) {
    std::vector<std::string> arguments{"heatmap",
                                       "--model",
                                       base_model(),
                                       "--image",
                                       image,
                                       "--question",
                                       "What can you see at the bottom?",
                                       "--out",
                                       folder_ / "maps",
                                       "--threads",
                                       "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_fovea(arguments);
  }
  Json sidecar(const std::string& stem) const {
    const auto text = read_file(folder_ / ("maps/" + stem + ".heatmap.json"), 1 << 24);
    if (!text) {
      ADD_FAILURE() << text.error().to_string();
      return {};
    }
    const auto json = parse_json(*text);
    return json ? *json : Json();
  }
  std::size_t files() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_ / "maps")) ++count;
    return count;
  }
  TemporaryFolder folder_;
};

TEST_F(Heatmap, writes_overlay_map_numbers_and_their_description) {
  const CommandResult result = run({});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(files(), 4U);
  const Json json = sidecar("picture-0000");
  const auto values = read_npy(folder_ / "maps/picture-0000.heatmap.npy");
  ASSERT_TRUE(values) << values.error().to_string();
  const auto layers = at(json, {"layers"}).as_array();
  const auto tokens = at(json, {"tokens"}).as_array();
  EXPECT_EQ(values->shape,
            (std::vector<std::int64_t>{static_cast<std::int64_t>(layers.size()),
                                       at(json, {"heads"}).as_int(),
                                       static_cast<std::int64_t>(tokens.size()), 24, 24}));
  // Attention to the picture is a part of each row's whole.
  const std::size_t cells = 576;
  for (std::size_t map = 0; map < values->values.size() / cells; ++map) {
    double sum = 0;
    for (std::size_t cell = 0; cell < cells; ++cell) {
      const float value = values->values[map * cells + cell];
      ASSERT_TRUE(value >= 0.0F && value <= 1.0F);
      sum += value;
    }
    EXPECT_LE(sum, 1.0 + 1e-4);
    EXPECT_GT(sum, 0.0);
  }
  const auto picture = load_image(eval_picture());
  ASSERT_TRUE(picture);
  EXPECT_EQ(at(json, {"width"}).as_int(), picture->width);
  EXPECT_EQ(at(json, {"height"}).as_int(), picture->height);
  EXPECT_EQ(at(json, {"grid"}).dump(), "[24,24]");
  for (const char* key : {"image", "reduction", "normalisation", "kept", "pruned_at_layer",
                          "question", "answer", "model", "version"}) {
    EXPECT_NE(json.find(key), nullptr) << key;
  }
  for (const char* name : {"heatmap.png", "map.png"}) {
    const auto drawn = load_image(folder_ / ("maps/picture-0000." + std::string(name)));
    EXPECT_TRUE(drawn) << name;
  }
  // The end token is no word of the answer.
  for (const Json& token : tokens) EXPECT_NE(at(token, {"id"}).as_int(), 2);
}

TEST_F(Heatmap, the_rectangle_says_where_a_cropped_picture_was_looked_at) {
  const std::string wide = folder_ / "wide.png";
  ASSERT_TRUE(write_png(wide, Image::filled(600, 300, 200, 100, 50)));
  ASSERT_EQ(run({"--image-aspect", "crop"}, wide).exit_code, 0);
  const Json crop = sidecar("wide");
  EXPECT_NEAR(at(crop, {"rect", "x"}).as_double(), 150.0, 1.0);
  EXPECT_NEAR(at(crop, {"rect", "width"}).as_double(), 300.0, 1.0);
  EXPECT_NEAR(at(crop, {"rect", "height"}).as_double(), 300.0, 1.0);
  ASSERT_EQ(run({"--image-aspect", "pad"}, wide).exit_code, 0);
  const Json pad = sidecar("wide");
  EXPECT_NEAR(at(pad, {"rect", "y"}).as_double(), -150.0, 1.0);
  EXPECT_NEAR(at(pad, {"rect", "width"}).as_double(), 600.0, 1.0);
}

TEST_F(Heatmap, layers_and_tokens_are_chosen) {
  ASSERT_EQ(run({"--layers", "0,2-3", "--token", "0"}).exit_code, 0);
  const Json json = sidecar("picture-0000");
  EXPECT_EQ(at(json, {"layers"}).dump(), "[0,2,3]");
  EXPECT_EQ(at(json, {"tokens"}).as_array().size(), 1U);
}

TEST_F(Heatmap, every_token_can_have_its_own_picture) {
  ASSERT_EQ(run({"--per-token"}).exit_code, 0);
  const std::size_t tokens = at(sidecar("picture-0000"), {"tokens"}).as_array().size();
  EXPECT_EQ(files(), 4U + tokens);
}

TEST_F(Heatmap, two_pictures_of_one_name_do_not_overwrite_each_other) {
  ASSERT_EQ(run({"--image", eval_picture()}).exit_code, 0);
  EXPECT_EQ(files(), 8U);
  EXPECT_TRUE(fs::exists(folder_ / "maps/picture-0000-2.heatmap.png"));
}

TEST_F(Heatmap, json_names_the_files) {
  const CommandResult result = run({"--json"});
  const auto names = at(json_of(result), {"files"}).as_array();
  ASSERT_EQ(names.size(), 4U);
  for (const Json& name : names) EXPECT_TRUE(fs::is_regular_file(name.as_string()));
}

TEST_F(Heatmap, layers_or_tokens_that_are_not_there_write_nothing) {
  EXPECT_EQ(run({"--layers", "12"}).exit_code, 2);
  EXPECT_EQ(run({"--layers", "x"}).exit_code, 2);
  EXPECT_EQ(run({"--token", "100"}).exit_code, 2);
  EXPECT_FALSE(fs::exists(folder_ / "maps"));
}

}  // namespace
}  // namespace fovea::testing
