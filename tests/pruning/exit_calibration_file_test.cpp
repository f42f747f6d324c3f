#include "pruning/exit_calibration_file.h"

#include <gtest/gtest.h>

#include "support/temporary_folder.h"

namespace fovea {
namespace {

using testing::TemporaryFolder;

ExitCalibration sample() {
  ExitCalibration calibration;
  calibration.exit_by = ExitBy::confidence;
  calibration.threshold = 0.1 + 0.2;  // no short decimal
  calibration.share_wanted = 0.4;
  calibration.share = 0.375;
  calibration.questions = 8;
  calibration.guide = "a guide";
  calibration.guide_sha256 = "00ff";
  return calibration;
}

TEST(ExitCalibrationFile, is_read_back_as_it_was_written) {
  const auto read = parse_exit_calibration(to_json(sample()));
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->exit_by, ExitBy::confidence);
  EXPECT_EQ(read->threshold, sample().threshold);
  EXPECT_EQ(read->share, sample().share);
  EXPECT_EQ(read->questions, 8U);
  EXPECT_EQ(read->guide, "a guide");
  EXPECT_EQ(read->guide_sha256, "00ff");
}

TEST(ExitCalibrationFile, says_which_field_is_wrong) {
  const std::string good = to_json(sample());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t place = text.find(from);
    EXPECT_NE(place, std::string::npos) << from;
    text.replace(place, from.size(), to);
    const auto read = parse_exit_calibration(text);
    EXPECT_FALSE(read) << text;
    return read ? std::string() : read.error().field;
  };
  EXPECT_EQ(with("\"exit\"", "\"vit\""), "kind");
  EXPECT_EQ(with("\"confidence\"", "\"random\""), "exit_by");
  EXPECT_EQ(with("0.375", "1.5"), "share");
  EXPECT_EQ(with("\"questions\": 8", "\"questions\": 0"), "questions");
  EXPECT_EQ(with("\"a guide\"", "7"), "guide");
  for (const char* text : {"", "[]", "{", "7"}) EXPECT_FALSE(parse_exit_calibration(text)) << text;
}

TEST(ExitCalibrationFile, gives_sgl_its_threshold_where_no_option_does) {
  const TemporaryFolder folder;
  MethodRequest request{.name = "sgl"};
  request.config = folder.write("exit.json", to_json(sample()));
  const auto options = read_sgl_options(request);
  ASSERT_TRUE(options) << options.error().to_string();
  EXPECT_EQ(options->exit_by, ExitBy::confidence);
  EXPECT_EQ(*options->exit_threshold, sample().threshold);
  EXPECT_EQ(options->guide_sha256, "00ff");
  EXPECT_TRUE(make_policy(request));

  request.options["exit-threshold"] = "0.9";
  const auto own = read_sgl_options(request);
  ASSERT_TRUE(own);
  EXPECT_EQ(own->exit_by, ExitBy::score);
  EXPECT_EQ(*own->exit_threshold, 0.9);
  EXPECT_TRUE(own->guide_sha256.empty());

  request.options.clear();
  request.config = folder.write("other.json", "{\"kind\": \"vit\"}");
  const auto refused = read_sgl_options(request);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().file.find("other.json"), std::string::npos);
}

}  // namespace
}  // namespace fovea
