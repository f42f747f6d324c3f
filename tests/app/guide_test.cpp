// The bundled pair through the command: a small model that ranks the large one's tokens, or
// answers in its place.

#include <gtest/gtest.h>

#include "command.h"

namespace fovea::testing {
namespace {

const std::string kQuestion = "What can you see at the bottom?";

std::vector<std::string> line(const std::string& command, const std::vector<std::string>& more) {
  std::vector<std::string> arguments{command,   "--model",      base_model(),
                                     "--image", eval_picture(), "--question",
                                     kQuestion, "--threads",    "2"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

CommandResult ask(const std::vector<std::string>& more) {
  return run_fovea(line("ask", more));
}

CommandResult guided(std::vector<std::string> more) {
  more.insert(more.begin(), {"--guide", guide_model()});
  return ask(more);
}

TEST(Guide, alone_means_sgl_and_tells_what_it_found_and_cost) {
  const Json json = json_of(guided({"--json", "--guide-layer", "0.2", "--guide-ratio", "0.3"}));
  const auto stages = at(json, {"visual_tokens", "stages"}).as_array();
  ASSERT_EQ(stages.size(), 1U);
  EXPECT_EQ(at(stages[0], {"layer"}).as_int(), 2) << "int(0.2 x 12)";
  EXPECT_EQ(at(stages[0], {"when"}).as_string(), "before");
  EXPECT_EQ(at(stages[0], {"kept"}).as_array().size(), 172U) << "int(0.3 x 576)";
  EXPECT_EQ(at(json, {"visual_tokens", "positions"}).as_string(), "original");
  EXPECT_EQ(at(json, {"visual_tokens", "rule"}).as_string(),
            "before layer int(0.2 x 12) keep int(0.3 x 576)");
  EXPECT_NEAR(at(json, {"visual_tokens", "entering_mean"}).as_double(), (2 * 576 + 10 * 172) / 12.0,
              1e-9);

  const Json guide = at(json, {"guide"});
  const double confidence = at(guide, {"confidence"}).as_double();
  const double consistency = at(guide, {"consistency"}).as_double();
  EXPECT_GT(confidence, 0.0);
  EXPECT_LE(confidence, 1.0);
  EXPECT_GE(consistency, 0.0);
  EXPECT_LE(consistency, 1.0);
  EXPECT_NEAR(at(guide, {"score"}).as_double(), (confidence + consistency) / 2, 1e-12);
  EXPECT_FALSE(at(guide, {"exited"}).as_bool());
  EXPECT_FALSE(at(guide, {"answer"}).as_string().empty());
  EXPECT_EQ(at(guide, {"model"}).as_string(), "fovea-guide");
  EXPECT_GE(at(json, {"timings_ms", "first_token"}).as_double(),
            at(guide, {"timings_ms", "total"}).as_double());
  EXPECT_GT(at(guide, {"timings_ms", "consistency"}).as_double(), 0.0);
  EXPECT_GT(at(json, {"visual_tokens", "kv_bytes"}).as_double(),
            at(guide, {"kv_bytes"}).as_double());
  EXPECT_GT(at(guide, {"kv_bytes"}).as_double(), 0.0);
  EXPECT_GT(at(guide, {"entering_equivalent"}).as_double(), 0.0);
}

TEST(Guide, the_guides_own_answer_is_what_it_says_by_itself) {
  const Json pair = json_of(guided({"--json"}));
  const Json alone = json_of(run_fovea({"ask", "--model", guide_model(), "--image", eval_picture(),
                                        "--question", kQuestion, "--json"}));
  EXPECT_EQ(at(pair, {"guide", "token_ids"}).dump(), at(alone, {"token_ids"}).dump());
}

TEST(Guide, a_ratio_of_one_answers_as_the_model_alone) {
  const TemporaryFolder folder;
  const Json pair =
      json_of(guided({"--json", "--guide-ratio", "1", "--dump-logits", folder / "pair.npy"}));
  const Json alone = json_of(ask({"--json", "--dump-logits", folder / "alone.npy"}));
  EXPECT_EQ(at(pair, {"token_ids"}).dump(), at(alone, {"token_ids"}).dump());
  EXPECT_TRUE(at(pair, {"visual_tokens", "stages"}).as_array().empty());
  const auto a = read_file(folder / "pair.npy", 1 << 24),
             b = read_file(folder / "alone.npy", 1 << 24);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(*a, *b);
}

TEST(Guide, at_threshold_0_its_answer_is_taken_and_streamed) {
  const CommandResult streamed = guided({"--exit-threshold", "0"});
  ASSERT_EQ(streamed.exit_code, 0) << streamed.err;
  const Json json = json_of(guided({"--exit-threshold", "0", "--json"}));
  EXPECT_TRUE(at(json, {"guide", "exited"}).as_bool());
  EXPECT_EQ(at(json, {"answer"}).as_string(), at(json, {"guide", "answer"}).as_string());
  EXPECT_EQ(streamed.out, at(json, {"answer"}).as_string() + "\n");
  EXPECT_NE(streamed.err.find("did not run"), std::string::npos) << streamed.err;
  EXPECT_EQ(at(json, {"visual_tokens", "entering_mean"}).as_double(), 0.0);
  EXPECT_EQ(at(json, {"visual_tokens", "kv_bytes"}).dump(), at(json, {"guide", "kv_bytes"}).dump());
  EXPECT_FALSE(
      at(json_of(guided({"--exit-threshold", "1.01", "--json"})), {"guide", "exited"}).as_bool());
}

TEST(Guide, the_released_codes_rows_and_another_exit_rule_can_be_chosen) {
  const auto kept = [](const std::vector<std::string>& more) {
    auto arguments = more;
    arguments.insert(arguments.end(), {"--json", "--guide-ratio", "0.1"});
    return at(json_of(guided(arguments)), {"visual_tokens", "stages"}).dump();
  };
  EXPECT_EQ(kept({}), kept({"--guide-rows", "text"}));
  EXPECT_NE(kept({"--guide-rows", "from-last-visual"}), "[]");
  const Json json = json_of(guided({"--exit-by", "confidence", "--exit-threshold", "0", "--json"}));
  EXPECT_TRUE(at(json, {"guide", "exited"}).as_bool());
  EXPECT_TRUE(at(json, {"guide", "consistency"}).is_null());
  EXPECT_TRUE(at(json, {"guide", "score"}).is_null());
}

TEST(Guide, own_layers_and_budgets_apply_to_sgl_too) {
  const Json own = json_of(guided({"--prune", "sgl", "--prune-layers", "3", "--prune-keep", "50",
                                   "--prune-positions", "compact", "--json"}));
  const auto stages = at(own, {"visual_tokens", "stages"}).as_array();
  ASSERT_EQ(stages.size(), 1U);
  EXPECT_EQ(at(stages[0], {"layer"}).as_int(), 3);
  EXPECT_EQ(at(stages[0], {"kept"}).as_array().size(), 50U);
  EXPECT_EQ(at(own, {"visual_tokens", "positions"}).as_string(), "compact");
  const Json solved = json_of(guided({"--prune-budget", "300", "--json"}));
  EXPECT_NEAR(at(solved, {"visual_tokens", "entering_mean"}).as_double(), 300, 1);
}

TEST(Guide, debiasing_applies_to_its_ranking) {
  const auto kept = [](std::vector<std::string> more) {
    more.insert(more.end(), {"--json", "--guide-ratio", "0.2"});
    const auto stages = at(json_of(guided(more)), {"visual_tokens", "stages"}).as_array();
    EXPECT_EQ(stages.size(), 1U);
    return stages.empty() ? std::string() : at(stages[0], {"kept"}).dump();
  };
  const std::string plain = kept({});
  EXPECT_EQ(kept({}), plain);
  EXPECT_NE(kept({"--debias", "0.3"}), plain);
}

TEST(Guide, what_contradicts_itself_is_refused_before_anything_is_loaded) {
  const auto refused = [](const CommandResult& result, const std::string& said) {
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_NE(result.err.find(said), std::string::npos) << result.err;
    EXPECT_EQ(result.out, "");
  };
  refused(ask({"--prune", "sgl"}), "--guide");
  refused(guided({"--prune", "fastv"}), "--guide");
  refused(guided({"--prune", "none"}), "--guide");
  refused(ask({"--guide-layer", "0.3"}), "--guide-layer");
  refused(ask({"--prune", "fastv", "--exit-threshold", "0.3"}), "--exit-threshold");
  refused(guided({"--guide-ratio", "1.5"}), "--guide-ratio");
  refused(guided({"--exit-threshold", "-1"}), "--exit-threshold");
  refused(guided({"--exit-by", "luck"}), "score");
}

TEST(Guide, a_folder_that_is_no_model_is_named) {
  const CommandResult result = ask({"--guide", "/nowhere/guide"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_NE(result.err.find("/nowhere/guide"), std::string::npos) << result.err;
}

TEST(Guide, another_visual_grid_is_a_usage_error) {
  const CommandResult result = ask({"--guide", source_path("tests/golden/llava/gqa-saved-f32")});
  EXPECT_EQ(result.exit_code, 2) << result.err;
  EXPECT_NE(result.err.find("24x24"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("4x4"), std::string::npos) << result.err;
}

TEST(Guide, compare_puts_the_pair_beside_the_model_alone) {
  const Json json = json_of(guided({"--compare", "none,sgl,sgl:exit-threshold=0", "--json"}));
  const auto runs = at(json, {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_TRUE(at(runs[0], {"guide"}).is_null());
  EXPECT_EQ(at(runs[0], {"visual_tokens", "entering_mean"}).as_double(), 576.0);
  EXPECT_FALSE(at(runs[1], {"guide", "exited"}).as_bool());
  EXPECT_TRUE(at(runs[2], {"guide", "exited"}).as_bool());
}

TEST(Guide, heatmaps_are_those_of_the_model_that_answered) {
  const TemporaryFolder folder;
  const auto model_of = [&](const std::vector<std::string>& more, const std::string& name) {
    std::vector<std::string> arguments{"--guide", guide_model(), "--out", folder / name};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = run_fovea(line("heatmap", arguments));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto text = read_file((folder / name) + "/picture-0000.heatmap.json", 1 << 20);
    const auto json = text ? parse_json(*text) : Result<Json>(Json());
    EXPECT_TRUE(text && json);
    return json ? at(*json, {"model", "id"}).as_string() + ": " + result.err : std::string();
  };
  EXPECT_EQ(model_of({}, "large").rfind("fovea-base: ", 0), 0U);
  const std::string exited = model_of({"--exit-threshold", "0"}, "small");
  EXPECT_EQ(exited.rfind("fovea-guide: ", 0), 0U);
  EXPECT_NE(exited.find("maps are those of fovea-guide"), std::string::npos) << exited;
}

TEST(Guide, a_conversation_goes_on_through_exits) {
  CommandInput input;
  input.text = kQuestion + "\nWhat colour is the circle?\n";
  for (const char* threshold : {"0", "1.01"}) {
    const CommandResult result =
        run_fovea({"chat", "--model", base_model(), "--guide", guide_model(), "--exit-threshold",
                   threshold, "--image", eval_picture(), "--threads", "2"},
                  input);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 2);
  }
}

}  // namespace
}  // namespace fovea::testing
