#include <gtest/gtest.h>

#include <set>

#include "command.h"

namespace fovea::testing {
namespace {

const std::string kQuestion = "What can you see at the bottom?";

std::vector<std::string> ask(const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"ask",     "--model",      base_model(),
                                     "--image", eval_picture(), "--question",
                                     kQuestion, "--threads",    "2"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Json ask_json(std::vector<std::string> more) {
  more.emplace_back("--json");
  const CommandResult result = run_fovea(ask(more));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return json_of(result);
}

std::vector<std::int64_t> numbers(const Json& json) {
  std::vector<std::int64_t> values;
  for (const Json& item : json.as_array()) values.push_back(item.as_int());
  return values;
}

TEST(Prune, own_layers_and_counts_are_what_happens) {
  const Json json =
      ask_json({"--prune", "adaptinfer", "--prune-layers", "1,3", "--prune-keep", "200,50"});
  EXPECT_EQ(at(json, {"visual_tokens", "positions"}).as_string(), "compact");
  const auto stages = at(json, {"visual_tokens", "stages"}).as_array();
  ASSERT_EQ(stages.size(), 2U);
  EXPECT_EQ(at(stages[0], {"layer"}).as_int(), 1);
  EXPECT_EQ(at(stages[0], {"when"}).as_string(), "after");
  EXPECT_EQ(at(stages[1], {"layer"}).as_int(), 3);
  const auto first = numbers(at(stages[0], {"kept"})), second = numbers(at(stages[1], {"kept"}));
  EXPECT_EQ(first.size(), 200U);
  EXPECT_EQ(second.size(), 50U);
  EXPECT_TRUE(std::is_sorted(first.begin(), first.end()));
  EXPECT_TRUE(std::includes(first.begin(), first.end(), second.begin(), second.end()));
  // 12 layers: 0 and 1 see all 576, 2 and 3 see 200, the other eight 50.
  EXPECT_NEAR(at(json, {"visual_tokens", "entering_mean"}).as_double(),
              (2 * 576 + 2 * 200 + 8 * 50) / 12.0, 1e-9);
  EXPECT_NEAR(at(json, {"visual_tokens", "equivalent"}).as_double(),
              (1 * 576 + 2 * 200 + 9 * 50) / 12.0, 1e-9);
}

TEST(Prune, positions_may_be_chosen_for_every_method) {
  for (const char* method : {"adaptinfer", "fastv", "himap", "random", "uniform"}) {
    for (const char* mode : {"original", "compact"}) {
      const Json json = ask_json({"--prune", method, "--prune-positions", mode});
      EXPECT_EQ(at(json, {"visual_tokens", "positions"}).as_string(), mode) << method;
      EXPECT_FALSE(at(json, {"visual_tokens", "stages"}).as_array().empty()) << method;
    }
  }
}

TEST(Prune, keeping_everything_changes_no_logit) {
  const TemporaryFolder folder;
  ask_json({"--dump-logits", folder / "plain.npy"});
  const Json json =
      ask_json({"--prune", "fastv", "--prune-keep", "576", "--dump-logits", folder / "kept.npy"});
  EXPECT_TRUE(at(json, {"visual_tokens", "stages"}).as_array().empty());
  const auto plain = read_file(folder / "plain.npy", 1 << 24);
  const auto kept = read_file(folder / "kept.npy", 1 << 24);
  ASSERT_TRUE(plain && kept);
  EXPECT_EQ(*plain, *kept);
}

TEST(Prune, a_budget_is_met_by_every_method) {
  for (const char* method : {"adaptinfer", "fastv", "himap", "random", "uniform"}) {
    const Json json = ask_json({"--prune", method, "--prune-budget", "288"});
    EXPECT_NEAR(at(json, {"visual_tokens", "entering_mean"}).as_double(), 288, 1) << method;
  }
}

TEST(Prune, a_seed_draws_another_lot) {
  const auto kept = [](const char* seed) {
    return at(ask_json({"--prune", "random", "--prune-seed", seed}), {"visual_tokens", "stages"})
        .dump();
  };
  EXPECT_EQ(kept("1"), kept("1"));
  EXPECT_NE(kept("1"), kept("2"));
}

TEST(Prune, schedules_that_do_not_fit_the_model_are_usage_errors) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"--prune", "adaptinfer", "--prune-layers", "1,3", "--prune-keep", "50,200"},
       "--prune-keep"},
      {{"--prune", "adaptinfer", "--prune-layers", "3,1", "--prune-keep", "90,50"},
       "--prune-layers"},
      {{"--prune", "adaptinfer", "--prune-layers", "12", "--prune-keep", "50"}, "layers 0 to 11"},
      {{"--prune", "adaptinfer", "--prune-layers", "1,3"}, "--prune-keep"},
      {{"--prune", "fastv", "--prune-layers", "0", "--prune-keep", "9"}, "--prune-layers"},
      {{"--prune", "fastv", "--prune-preset", "magic"}, "50, 75, 90, 128"},
      {{"--prune", "fastv", "--prune-budget", "3"}, "out of reach"},
      {{"--prune", "magic"}, "adaptinfer, fastv"},
      {{"--prune", "fastv:magic=1"}, "fastv has no option"}};
  for (const auto& [more, says] : cases) expect_refused(run_fovea(ask(more)), 2, says);
}

TEST(Prune, a_conversation_prunes_every_turn) {
  std::vector<std::string> line{"chat",         "--model", base_model(), "--image",
                                eval_picture(), "--prune", "fastv"};
  const CommandResult result =
      run_fovea(line, {.text = kQuestion + "\nWhat colour is the circle?\n/quit\n"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const std::string kept = "fastv 50: before layer 1 keep 288";
  const std::size_t first = result.err.find(kept);
  ASSERT_NE(first, std::string::npos) << result.err;
  EXPECT_NE(result.err.find(kept, first + 1), std::string::npos) << result.err;
}

TEST(Prune, the_budget_is_counted_against_the_unpruned_run) {
  const Json plain = at(ask_json({}), {"visual_tokens"});
  EXPECT_EQ(at(plain, {"prune"}).as_string(), "none");
  EXPECT_EQ(at(plain, {"kv_bytes"}).as_int(), at(plain, {"kv_bytes_unpruned"}).as_int());
  EXPECT_EQ(at(plain, {"prefill_flops"}).as_double(),
            at(plain, {"prefill_flops_unpruned"}).as_double());
  EXPECT_EQ(numbers(at(plain, {"entering"})), std::vector<std::int64_t>(12, 576));

  const Json cut = at(ask_json({"--prune", "fastv:layers=3:keep=100"}), {"visual_tokens"});
  EXPECT_EQ(at(cut, {"prune"}).as_string(), "fastv:layers=3:keep=100");
  std::vector<std::int64_t> entering(12, 100);
  std::fill_n(entering.begin(), 3, 576);
  EXPECT_EQ(numbers(at(cut, {"entering"})), entering);
  EXPECT_EQ(at(cut, {"kv_bytes_unpruned"}).as_int(), at(plain, {"kv_bytes"}).as_int());
  // Nine layers lose 476 tokens of the 576 and the text's.
  const std::int64_t a_token = at(plain, {"kv_bytes"}).as_int() - at(cut, {"kv_bytes"}).as_int();
  EXPECT_EQ(a_token % (9 * 476), 0);
  EXPECT_LT(at(cut, {"prefill_flops"}).as_double(), at(plain, {"prefill_flops"}).as_double());
}

TEST(Prune, a_preset_shows_where_it_was_moved_and_by_which_rule) {
  const Json json = at(ask_json({"--prune", "adaptinfer"}), {"visual_tokens"});
  EXPECT_EQ(at(json, {"schedule"}).as_string(), "adaptinfer 64");
  EXPECT_NE(at(json, {"rule"}).as_string().find("round(l x 12/32)"), std::string::npos);
  const CommandResult result = run_fovea(ask({"--prune", "adaptinfer"}));
  EXPECT_NE(result.err.find("adaptinfer 64: after layer 1 keep 133, after layer 4 keep 27, after "
                            "layer 8 keep 3 (compact positions)\n"),
            std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("round(l x 12/32)"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("keys and values"), std::string::npos) << result.err;
  EXPECT_EQ(run_fovea(ask({"--prune", "adaptinfer", "--quiet"})).err, "");

  const Json own = at(ask_json({"--prune", "adaptinfer:layers=1:keep=80"}), {"visual_tokens"});
  EXPECT_EQ(at(own, {"schedule"}).as_string(), "adaptinfer with layers and counts of its own");
  EXPECT_EQ(at(own, {"rule"}).as_string(), "");
}

}  // namespace
}  // namespace fovea::testing
