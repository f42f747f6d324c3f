#include <gtest/gtest.h>

#include "command.h"
#include "kernels/base/npy.h"
#include "kernels/device.h"

namespace fovea::testing {
namespace {

const std::string kQuestion = "What can you see at the bottom?";

std::vector<std::string> ask(const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"ask",     "--model",      base_model(),
                                     "--image", eval_picture(), "--question",
                                     kQuestion, "--threads",    "2"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<std::string> keys(const Json& json) {
  std::vector<std::string> names;
  for (const auto& [name, value] : json.as_object()) names.push_back(name);
  return names;
}

TEST(Ask, streams_the_answer_to_stdout_and_the_summary_to_stderr) {
  const CommandResult result = run_fovea(ask());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_GT(result.out.size(), 1U);
  EXPECT_EQ(result.out.back(), '\n');
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 1);
  EXPECT_NE(result.err.find("tokens"), std::string::npos);
  EXPECT_NE(result.err.find("visual tokens: 576"), std::string::npos);
  EXPECT_EQ(run_fovea(ask({"--quiet"})).err, "");
}

TEST(Ask, json_follows_the_contract) {
  const CommandResult result = run_fovea(ask({"--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const Json json = json_of(result);
  EXPECT_EQ(keys(json),
            (std::vector<std::string>{"answer", "token_ids", "prompt_token_ids", "finish_reason",
                                      "visual_tokens", "guide", "timings_ms", "model", "version"}));
  EXPECT_EQ(keys(at(json, {"timings_ms"})),
            (std::vector<std::string>{"load", "decode_image", "preprocess", "vision", "projector",
                                      "prefill", "first_token", "per_token", "total"}));
  for (const auto& [name, value] : members(at(json, {"timings_ms"}))) {
    ASSERT_TRUE(value.is_number()) << name;
    EXPECT_GE(value.as_double(), 0.0) << name;
  }
  EXPECT_GT(at(json, {"timings_ms", "first_token"}).as_double(), 0.0);
  EXPECT_GE(at(json, {"timings_ms", "total"}).as_double(),
            at(json, {"timings_ms", "first_token"}).as_double());
  EXPECT_EQ(at(json, {"finish_reason"}).as_string(), "stop");
  EXPECT_EQ(at(json, {"model", "id"}).as_string(), "fovea-base");
  EXPECT_EQ(at(json, {"model", "sha256"}).as_string().size(), 64U);
  EXPECT_EQ(at(json, {"model", "device"}).as_string(), device_name(best_device()));
  EXPECT_EQ(at(json, {"visual_tokens", "initial"}).as_int(), 576);
  EXPECT_EQ(at(json, {"visual_tokens", "equivalent"}).as_double(), 576.0);
  EXPECT_EQ(at(json, {"visual_tokens", "entering_mean"}).as_double(), 576.0);
  EXPECT_EQ(at(json, {"visual_tokens", "positions"}).as_string(), "original");
  EXPECT_TRUE(at(json, {"visual_tokens", "stages"}).as_array().empty());
  EXPECT_TRUE(at(json, {"guide"}).is_null());
  const auto prompt = at(json, {"prompt_token_ids"}).as_array();
  const auto placeholders = std::count_if(prompt.begin(), prompt.end(), [](const Json& id) {
    return id.is_int() && id.as_int() == 1600;
  });
  EXPECT_EQ(placeholders, 576);
  const auto tokens = at(json, {"token_ids"}).as_array();
  ASSERT_FALSE(tokens.empty());
  EXPECT_EQ(tokens.back().as_int(), 2) << "the end token belongs to the ids";
}

TEST(Ask, json_into_a_file_leaves_stdout_to_the_answer) {
  const TemporaryFolder folder;
  const CommandResult result = run_fovea(ask({"--json", folder / "a.json", "--quiet"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto text = read_file(folder / "a.json", 1 << 20);
  ASSERT_TRUE(text);
  const auto json = parse_json(*text);
  ASSERT_TRUE(json);
  EXPECT_EQ(at(*json, {"answer"}).as_string() + "\n", result.out);
  EXPECT_EQ(folder.entries(), 1U);
}

TEST(Ask, the_answer_does_not_depend_on_the_number_of_threads) {
  const auto tokens = [](const std::string& threads) {
    const std::vector<std::string> line{"ask",          "--model",    base_model(), "--image",
                                        eval_picture(), "--question", kQuestion,    "--json",
                                        "--threads",    threads};
    return at(json_of(run_fovea(line)), {"token_ids"}).dump();
  };
  EXPECT_EQ(tokens("1"), tokens("3"));
}

TEST(Ask, logits_have_a_row_for_each_token_and_choose_it) {
  const TemporaryFolder folder;
  const Json json = json_of(run_fovea(ask({"--json", "--dump-logits", folder / "l.npy"})));
  const auto tokens = at(json, {"token_ids"}).as_array();
  const auto logits = read_npy(folder / "l.npy");
  ASSERT_TRUE(logits) << logits.error().to_string();
  ASSERT_EQ(logits->shape,
            (std::vector<std::int64_t>{static_cast<std::int64_t>(tokens.size()), 1664}));
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    const auto begin = logits->values.begin() + static_cast<std::ptrdiff_t>(row * 1664);
    EXPECT_EQ(std::max_element(begin, begin + 1664) - begin, tokens[row].as_int());
  }
}

TEST(Ask, sampling_repeats_with_its_seed) {
  const std::vector<std::string> sampled{"--json", "--temperature", "3", "--max-new-tokens",
                                         "8",      "--seed"};
  const auto tokens = [&](const std::string& seed) {
    auto more = sampled;
    more.push_back(seed);
    return at(json_of(run_fovea(ask(more))), {"token_ids"}).dump();
  };
  const std::string first = tokens("11");
  EXPECT_EQ(tokens("11"), first);
  EXPECT_TRUE(tokens("12") != first || tokens("13") != first);
}

TEST(Ask, max_new_tokens_ends_an_answer_by_length) {
  const Json json = json_of(run_fovea(ask({"--json", "--max-new-tokens", "1"})));
  EXPECT_EQ(at(json, {"token_ids"}).as_array().size(), 1U);
  EXPECT_EQ(at(json, {"finish_reason"}).as_string(), "length");
}

TEST(Ask, a_raw_prompt_takes_as_many_pictures_as_it_marks) {
  const std::vector<std::string> two{"ask",          "--model",
                                     base_model(),   "--image",
                                     eval_picture(), "--image",
                                     eval_picture(), "--json",
                                     "--raw-prompt", "USER: <image>\n<image>\nWhat? ASSISTANT:"};
  const Json json = json_of(run_fovea(two));
  EXPECT_EQ(at(json, {"visual_tokens", "initial"}).as_int(), 1152);
  auto one = two;
  one.back() = "USER: <image>\nWhat? ASSISTANT:";
  expect_refused(run_fovea(one), 2, "picture");
}

TEST(Ask, a_question_may_come_from_stdin) {
  const std::vector<std::string> piped{"ask",          "--model",    base_model(), "--image",
                                       eval_picture(), "--question", "-",          "--quiet"};
  EXPECT_EQ(run_fovea(piped, {.text = kQuestion + "\n"}).out, run_fovea(ask({"--quiet"})).out);
  expect_refused(run_fovea(piped, {.text = " \n"}), 2, "empty");
}

TEST(Ask, bf16_answers_too) {
  const CommandResult result = run_fovea(ask({"--dtype", "bf16", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(at(json_of(result), {"model", "dtype"}).as_string(), "bf16");
}

TEST(Ask, help_of_every_command_is_a_text_on_stdout) {
  for (const char* command : {"ask", "chat", "inspect", "bench", "eval", "heatmap"}) {
    const CommandResult result = run_fovea({command, "--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_NE(result.out.find("Usage: fovea " + std::string(command)), std::string::npos);
  }
}

}  // namespace
}  // namespace fovea::testing
