#include "app/bench_run.h"

#include <gtest/gtest.h>

#include "command.h"

namespace fovea::testing {
namespace {

std::vector<std::string> bench(const std::vector<std::string>& more) {
  std::vector<std::string> line{"bench",        "--shape", "fovea-base", "--repeat", "1",
                                "--new-tokens", "1",       "--threads",  "2"};
  line.insert(line.end(), more.begin(), more.end());
  return line;
}

TEST(Bench, pruned_runs_stand_beside_the_unpruned_one) {
  const CommandResult result = run_fovea(bench({"--prune", "adaptinfer:layers=1+3:keep=200+50",
                                                "--prune", "fastv:layers=3:keep=100", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto runs = at(json_of(result), {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(at(runs[0], {"prune"}).as_string(), "none");
  EXPECT_EQ(at(runs[1], {"prune"}).as_string(), "adaptinfer:layers=1+3:keep=200+50");
  EXPECT_EQ(at(runs[2], {"prune"}).as_string(), "fastv:layers=3:keep=100");
  const auto entering = [&](std::size_t run) { return at(runs[run], {"entering"}).dump(); };
  EXPECT_EQ(entering(0), "[576,576,576,576,576,576,576,576,576,576,576,576]");
  EXPECT_EQ(entering(1), "[576,576,200,200,50,50,50,50,50,50,50,50]");
  EXPECT_EQ(entering(2), "[576,576,576,100,100,100,100,100,100,100,100,100]");
  for (const Json& run : runs) {
    for (const char* name : {"prefill_ms", "first_token_ms", "decode_ms_per_token"}) {
      EXPECT_GT(at(run, {name}).as_double(), 0.0) << name;
    }
    EXPECT_GT(at(run, {"floor", "prefill_ms"}).as_double(), 0.0);
    EXPECT_GT(at(run, {"floor", "decode_ms_per_token"}).as_double(), 0.0);
  }
  EXPECT_EQ(at(runs[0], {"select_ms"}).as_double(), 0.0) << "nothing is scored";
  for (const std::size_t pruned : {1U, 2U}) {
    EXPECT_GT(at(runs[pruned], {"select_ms"}).as_double(), 0.0);
    EXPECT_LT(at(runs[pruned], {"select_share"}).as_double(), 1.0);
  }
}

TEST(Bench, questions_side_by_side_are_timed_beside_one_alone) {
  const CommandResult result =
      run_fovea(bench({"--batch", "3", "--prune", "adaptinfer:layers=1+3:keep=200+50", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto runs = at(json_of(result), {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 2U);
  for (const Json& run : runs) {
    EXPECT_EQ(at(run, {"batch"}).as_int(), 3);
    const double total = at(run, {"batch_ms", "total"}).as_double();
    EXPECT_NEAR(at(run, {"answers_per_s"}).as_double(), 3e3 / total, 1e-2 * 3e3 / total);
    EXPECT_GT(at(run, {"batch_ms", "vision"}).as_double(), 0.0);
    EXPECT_GT(at(run, {"batch_ms", "prefill"}).as_double(), 0.0);
    EXPECT_LT(at(run, {"batch_ms", "prefill"}).as_double(), total);
  }
  const CommandResult alone = run_fovea(bench({"--json"}));
  EXPECT_EQ(at(json_of(alone), {"runs"}).as_array()[0].find("batch"), nullptr);
}

TEST(Bench, settings_that_bench_cannot_time_are_refused) {
  expect_refused(run_fovea(bench({"--prune", "magic"})), 2, "There are: none");
  expect_refused(run_fovea(bench({"--prune", "fastv:budget=3"})), 2, "out of reach");
  expect_refused(run_fovea(bench({"--prune", "visionzip"})), 2, "all that bench times");
  expect_refused(run_fovea(bench({"--prune", "fastv", "--prune", "fastv"})), 2, "given twice");
}

app::BenchRun measured(double run_ms, std::vector<double> floor_ms) {
  app::BenchRun run;
  run.prefill.run.ms = {run_ms};
  run.prefill.floor.ms = std::move(floor_ms);
  return run;
}

TEST(Bench, a_speed_up_is_given_only_while_the_floors_hold_still) {
  const auto steady = measured(100, {40, 42});
  const auto speedup = app::prefill_speedup(steady, measured(25, {10, 10.5}));
  ASSERT_TRUE(speedup);
  EXPECT_DOUBLE_EQ(*speedup, 4);
  EXPECT_FALSE(app::prefill_speedup(steady, measured(25, {10, 11.5})));
  EXPECT_FALSE(app::prefill_speedup(measured(100, {40, 50}), measured(25, {10, 10})));
}

}  // namespace
}  // namespace fovea::testing
