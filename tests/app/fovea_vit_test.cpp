// The bundled classifier names emoji in cluttered scenes, and its thresholds drop patches without
// costing answers.

#include <gtest/gtest.h>

#include "app/command.h"

namespace fovea {
namespace {

using testing::at;
using testing::json_of;
using testing::run_fovea;
using testing::source_path;

TEST(FoveaVit, names_held_out_scenes_and_loses_nothing_at_two_thirds_of_the_work) {
  const auto result =
      run_fovea({"classify", source_path("assets/eval_vit/images/0*.jpg"), "--labels",
                 source_path("assets/eval_vit/labels.csv"), "--vit-prune", "none", "--vit-prune",
                 "adaptive", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json runs = at(json_of(result), {"runs"});
  ASSERT_EQ(runs.as_array().size(), 2U);
  const Json &whole = runs.as_array()[0], &pruned = runs.as_array()[1];
  EXPECT_EQ(at(whole, {"judged"}).as_int(), 100);
  EXPECT_GE(at(whole, {"right"}).as_int(), 98);
  EXPECT_GE(at(pruned, {"right"}).as_int(), at(whole, {"right"}).as_int());
  const double share = at(pruned, {"gflops"}).as_double() / at(whole, {"gflops"}).as_double();
  EXPECT_NEAR(share, 0.65, 0.01);
  EXPECT_EQ(at(pruned, {"thresholds_from"}).as_string(), "checkpoint");
}

}  // namespace
}  // namespace fovea
