#include "vlm/bundled.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fovea {
namespace {

TEST(Bundled, installed_and_source_trees_are_both_looked_at) {
  const auto installed = bundled_places("/usr/bin/fovea", "models/m");
  EXPECT_EQ(installed.front(), "/usr/share/fovea/models/m");
  const auto built = bundled_places("/home/u/fovea/build/release/fovea", "models/m");
  EXPECT_NE(std::find(built.begin(), built.end(), "/home/u/fovea/assets/models/m"), built.end());
  EXPECT_FALSE(bundled_places("/fovea", "models/m").empty());
}

TEST(Bundled, what_is_not_there_names_every_place) {
  const auto missing = find_bundled("models/no-such-model");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_NE(missing.error().message.find("share/fovea/models/no-such-model"), std::string::npos);
}

}  // namespace
}  // namespace fovea
