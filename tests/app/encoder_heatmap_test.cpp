#include <gtest/gtest.h>

#include "app/command.h"
#include "kernels/base/csv.h"
#include "kernels/base/npy.h"
#include "vision/image.h"

namespace fovea {
namespace {

using testing::at;
using testing::eval_picture;
using testing::expect_refused;
using testing::json_of;
using testing::run_fovea;
using testing::source_path;
using testing::TemporaryFolder;

using Shape = std::vector<std::int64_t>;

std::string classifier() {
  return source_path("tests/golden/classifier/deit_teacher");
}

class EncoderHeatmap : public ::testing::Test {
 protected:
  testing::CommandResult draw(std::vector<std::string> more) const {
    std::vector<std::string> words{"heatmap",      "--encoder", "--image",
                                   eval_picture(), "--out",     folder_ / "out"};
    words.insert(words.end(), more.begin(), more.end());
    return run_fovea(words);
  }
  std::string file(const std::string& name) const { return folder_ / ("out/" + name); }
  NpyArray values(const std::string& name) const {
    auto array = read_npy(file(name));
    EXPECT_TRUE(array) << name;
    return array ? *array : NpyArray();
  }
  TemporaryFolder folder_;
};

TEST_F(EncoderHeatmap, draws_the_tower_of_a_classifier) {
  const auto result = draw({"--model", classifier(), "--grid", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json json = json_of(result);
  const Json files = at(json, {"files"});
  EXPECT_EQ(files.as_array().size(), 15U);
  for (const Json& path : files.as_array()) {
    EXPECT_TRUE(std::filesystem::exists(path.as_string())) << path.as_string();
  }
  const std::string stem = "picture-0000.encoder-";
  // Two blocks of three heads over 4 x 4 patches.
  EXPECT_EQ(values(stem + "class.npy").shape, (Shape{2, 3, 4, 4}));
  EXPECT_EQ(values(stem + "received.npy").shape, (Shape{2, 3, 4, 4}));
  EXPECT_EQ(values(stem + "rollout.npy").shape, (Shape{4, 4}));
  for (const float value : values(stem + "rollout.npy").values) EXPECT_GT(value, 0.0F);
  double total = 0;
  for (const float value : values(stem + "rollout.npy").values) total += value;
  EXPECT_LT(total, 1.0);  // the rest stays with class and distillation token
  const Json layers = at(json, {"layers"});
  ASSERT_EQ(layers.as_array().size(), 2U);
  EXPECT_EQ(at(layers.as_array()[1], {"heads"}).as_array().size(), 3U);
}

TEST_F(EncoderHeatmap, draws_the_tower_of_a_vision_language_model) {
  const auto result = draw({"--model", testing::guide_model(), "--map", "class"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("reach"), std::string::npos);
  EXPECT_EQ(values("picture-0000.encoder-class.npy").shape[2], 24);
  EXPECT_FALSE(std::filesystem::exists(file("picture-0000.encoder-rollout.npy")));
}

TEST_F(EncoderHeatmap, received_attention_is_a_mean_over_all_patches) {
  ASSERT_EQ(draw({"--model", classifier(), "--map", "received", "--drop-class-token"}).exit_code,
            0);
  const NpyArray received = values("picture-0000.encoder-received.npy");
  for (std::size_t map = 0; map < 6; ++map) {  // without special tokens, patches share out one
    double total = 0;
    for (std::size_t cell = 0; cell < 16; ++cell) total += received.values[map * 16 + cell];
    EXPECT_NEAR(total, 1.0, 1e-5);
  }
}

TEST_F(EncoderHeatmap, nmi_is_written_as_a_table_with_the_labels_of_the_thresholds) {
  ASSERT_EQ(draw({"--model", classifier(), "--nmi-local", "0", "--nmi-global", "0"}).exit_code, 0);
  const auto text = read_file(file("encoder.nmi.csv"), 1 << 20);
  ASSERT_TRUE(text);
  const auto rows = parse_csv(*text);
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 1U + 2 * 4);
  EXPECT_EQ((*rows)[0].fields, (std::vector<std::string>{"layer", "head", "nmi", "reach"}));
  EXPECT_EQ((*rows)[1].fields[1], "mean");
  double mean = 0;
  for (std::size_t head = 0; head < 3; ++head) mean += std::stod((*rows)[2 + head].fields[2]) / 3;
  EXPECT_NEAR(std::stod((*rows)[1].fields[2]), mean, 1e-6);
  for (std::size_t row = 1; row < rows->size(); ++row) EXPECT_EQ((*rows)[row].fields[3], "local");
}

TEST_F(EncoderHeatmap, what_cannot_be_is_refused_and_leaves_nothing) {
  expect_refused(draw({"--model", classifier(), "--layers", "2"}), 2, "--layers");
  expect_refused(draw({"--model", classifier(), "--heads", "3"}), 2, "--heads");
  expect_refused(draw({"--model", classifier(), "--discard", "1"}), 2, "--discard");
  expect_refused(draw({"--model", classifier(), "--question", "What?"}), 2, "no question");
  expect_refused(draw({"--model", classifier(), "--nmi-global", "0.5"}), 2, "--nmi-global");
  expect_refused(run_fovea({"heatmap", "--encoder", "--out", folder_ / "out"}), 2, "--image");
  folder_.write("bad.png", "no picture");
  expect_refused(draw({"--model", classifier(), "--image", folder_ / "bad.png"}), 2, "bad.png");
  std::size_t files = 0;
  if (std::filesystem::exists(folder_ / "out")) {
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator(folder_ / "out")) {
      ++files;
    }
  }
  EXPECT_EQ(files, 0U);
}

}  // namespace
}  // namespace fovea
