#include <gtest/gtest.h>

#include "app/command.h"
#include "vision/image.h"

namespace fovea {
namespace {

using testing::at;
using testing::expect_refused;
using testing::json_of;
using testing::run_fovea;
using testing::source_path;
using testing::TemporaryFolder;

std::string classifier() {
  return source_path("tests/golden/classifier/vit");
}

class CalibrateVit : public ::testing::Test {
 protected:
  CalibrateVit() {
    for (int i = 0; i < 6; ++i) {
      Image image = Image::filled(24, 24, 30, 60, 90);
      for (int x = 0; x < 24; ++x) {
        for (int y = 0; y < 24; ++y) {
          image.pixel(x, y)[i % 3] = static_cast<std::uint8_t>((x * (i + 3) + y * 11) % 256);
        }
      }
      EXPECT_TRUE(write_png(folder_ / (std::to_string(i) + ".png"), image));
    }
  }
  TemporaryFolder folder_;
};

TEST_F(CalibrateVit, writes_thresholds_that_classify_reads) {
  const std::string file = folder_ / "t.json";
  const auto result = run_fovea({"calibrate", "vit", folder_.path().string(), "--model",
                                 classifier(), "--budget", "0.8", "--out", file, "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json json = json_of(result);
  EXPECT_EQ(at(json, {"pictures"}).as_int(), 6);
  EXPECT_NEAR(at(json, {"share"}).as_double(), .8, .02);
  EXPECT_NE(at(json, {"origin"}).as_string().find("not the published training"), std::string::npos);
  EXPECT_EQ(at(json, {"patches"}).as_int(), 16);

  const Json run =
      at(json_of(run_fovea({"classify", folder_.path().string(), "--model", classifier(),
                            "--vit-prune", "adaptive:thresholds=" + file, "--json"})),
         {"runs"})
          .as_array()[0];
  EXPECT_NEAR(at(run, {"gflops"}).as_double(), at(json, {"gflops"}).as_double(), 1e-9);
  EXPECT_EQ(at(run, {"thresholds_from"}).as_string(), file);
}

TEST_F(CalibrateVit, reads_the_tower_of_a_vision_language_model) {
  const auto result =
      run_fovea({"calibrate", "vit", folder_.path().string(), "--model", testing::guide_model(),
                 "--limit", "2", "--budget", "0.9", "--out", folder_ / "t.json", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json json = json_of(result);
  EXPECT_EQ(at(json, {"model", "kind"}).as_string(), "llava");
  EXPECT_EQ(at(json, {"pictures"}).as_int(), 2);
  EXPECT_NEAR(at(json, {"share"}).as_double(), .9, .02);
}

TEST_F(CalibrateVit, what_cannot_be_is_refused_before_anything_is_written) {
  const std::string file = folder_ / "t.json";
  const auto calibrate = [&](std::vector<std::string> more) {
    std::vector<std::string> words{
        "calibrate", "vit", folder_.path().string(), "--model", classifier(), "--out", file};
    words.insert(words.end(), more.begin(), more.end());
    return run_fovea(words);
  };
  expect_refused(calibrate({"--budget", "0.1"}), 2, "from 0.");
  expect_refused(calibrate({"--budget", "2"}), 2, "--budget");
  expect_refused(calibrate({"--blocks", "1,2"}), 2, "cut 1");
  expect_refused(calibrate({"--score", "mean"}), 2, "--score");
  expect_refused(calibrate({"--magic"}), 2, "--magic");
  expect_refused(run_fovea({"calibrate"}), 2, "subcommand");
  expect_refused(run_fovea({"calibrate", "wat"}), 2, "subcommand");
  folder_.write("bad.png", "no picture");
  expect_refused(calibrate({}), 2, "bad.png");
  EXPECT_FALSE(std::filesystem::exists(file));
}

}  // namespace
}  // namespace fovea
