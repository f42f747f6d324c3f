#include "app/model_folder.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "support/temporary_folder.h"

namespace fovea::app {
namespace {

TEST(ModelFolder, the_option_wins_over_the_environment) {
  const testing::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "a");
  std::filesystem::create_directory(folder / "b");
  ::setenv("FOVEA_MODEL", (folder / "b").c_str(), 1);
  ModelOptions options;
  EXPECT_EQ(*find_model_folder(options), folder / "b");
  options.model = folder / "a";
  EXPECT_EQ(*find_model_folder(options), folder / "a");
  ::setenv("FOVEA_MODEL", (folder / "missing").c_str(), 1);
  options.model.clear();
  const auto missing = find_model_folder(options);
  ::unsetenv("FOVEA_MODEL");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_NE(missing.error().message.find("FOVEA_MODEL"), std::string::npos);
}

TEST(ModelFolder, nothing_falls_back_silently) {
  ModelOptions options;
  options.device = "cuda:99";
  const auto cuda = load_options(options);
  ASSERT_FALSE(cuda);
  EXPECT_EQ(cuda.error().code, ErrorCode::device);
  options.device = "cpu";
  options.autotune = true;
  const auto tuned = load_options(options);
  ASSERT_FALSE(tuned);
  EXPECT_EQ(tuned.error().code, ErrorCode::usage);
  EXPECT_EQ(tuned.error().field, "--autotune");
  options.autotune = false;
  for (const char* dtype : {"f16", "int8", "int4"}) {
    options.dtype = dtype;
    const auto load = load_options(options);
    ASSERT_FALSE(load);
    EXPECT_NE(load.error().message.find("f32 and bf16"), std::string::npos);
  }
  options.dtype = "bf16";
  options.threads = 3;
  const auto load = load_options(options);
  ASSERT_TRUE(load);
  EXPECT_EQ(load->threads, 3);
  EXPECT_EQ(load->dtype, DTypeChoice::bf16);
}

}  // namespace
}  // namespace fovea::app
