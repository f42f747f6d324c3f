#include "pruning/method.h"

#include <gtest/gtest.h>

namespace fovea {
namespace {

TEST(Methods, every_row_makes_a_policy_of_its_name) {
  for (const Method& method : methods()) {
    MethodRequest request;
    request.name = method.name;
    const auto policy = make_policy(request);
    ASSERT_TRUE(policy) << method.name << ": " << policy.error().to_string();
    EXPECT_EQ((*policy)->name(), method.name);
    EXPECT_EQ(find_method(method.name), &method);
  }
}

TEST(Methods, default_presets_exist) {
  for (const Method& method : methods()) {
    bool found = method.presets().empty() && std::string(method.default_preset).empty();
    for (const SchedulePreset& preset : method.presets())
      found |= preset.name == method.default_preset;
    EXPECT_TRUE(found) << method.name;
  }
}

TEST(Methods, an_unknown_name_is_refused_with_the_names_there_are) {
  const auto policy = make_policy({.name = "fastvee"});
  ASSERT_FALSE(policy);
  EXPECT_EQ(policy.error().code, ErrorCode::usage);
  EXPECT_NE(policy.error().to_string().find("adaptinfer"), std::string::npos);
}

TEST(Methods, options_are_checked_by_name_and_value) {
  EXPECT_FALSE(make_policy({.name = "fastv", .options = {{"weighting", "uniform"}}}));
  EXPECT_FALSE(make_policy({.name = "adaptinfer", .options = {{"weighting", "unifor"}}}));
  EXPECT_FALSE(make_policy({.name = "adaptinfer", .options = {{"weighting", ""}}}));
  EXPECT_TRUE(make_policy({.name = "adaptinfer", .options = {{"weighting", "uniform"}}}));
}

TEST(Methods, a_calibration_file_is_refused_by_methods_that_read_none) {
  const auto policy = make_policy({.name = "fastv", .config = "recipe.json"});
  ASSERT_FALSE(policy);
  EXPECT_EQ(policy.error().code, ErrorCode::usage);
  EXPECT_EQ(policy.error().field, "--prune-config");
}

}  // namespace
}  // namespace fovea
