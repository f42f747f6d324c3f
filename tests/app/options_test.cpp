#include "app/options.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/temporary_folder.h"

namespace fovea::app {
namespace {

template <class Options>
Options parsed(const std::vector<std::string>& arguments) {
  const auto line = parse_command_line(arguments);
  if (!line || !line->command || !std::holds_alternative<Options>(*line->command)) {
    ADD_FAILURE() << (line ? "another command" : line.error().to_string());
    return {};
  }
  return std::get<Options>(*line->command);
}

std::string refusal(const std::vector<std::string>& arguments) {
  const auto line = parse_command_line(arguments);
  if (line) return "accepted";
  EXPECT_EQ(line.error().code, ErrorCode::usage);
  return line.error().message;
}

const std::vector<std::string> kAsk{"ask", "--image", "a.png", "--question", "What?"};

std::vector<std::string> ask_with(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = kAsk;
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(Options, defaults_are_greedy_and_128_tokens) {
  const auto options = parsed<AskOptions>(kAsk);
  EXPECT_EQ(options.images, std::vector<std::string>{"a.png"});
  EXPECT_EQ(options.question, "What?");
  EXPECT_EQ(options.generation.max_new_tokens, 128);
  EXPECT_EQ(options.generation.temperature, 0.0);
  EXPECT_EQ(options.generation.top_p, 1.0);
  EXPECT_EQ(options.generation.seed, 0U);
  EXPECT_EQ(options.model.threads, 0);
  EXPECT_FALSE(options.output.json.has_value());
  EXPECT_FALSE(options.output.json_on_stdout());
}

TEST(Options, json_takes_a_file_or_stands_alone) {
  EXPECT_EQ(parsed<AskOptions>(ask_with({"--json"})).output.json, "-");
  EXPECT_EQ(parsed<AskOptions>(ask_with({"--json", "-"})).output.json, "-");
  EXPECT_EQ(parsed<AskOptions>(ask_with({"--json", "--quiet"})).output.json, "-");
  EXPECT_EQ(parsed<AskOptions>(ask_with({"--json", "x.json"})).output.json, "x.json");
  EXPECT_EQ(parsed<AskOptions>(ask_with({"--json=x.json"})).output.json, "x.json");
}

TEST(Options, json_into_a_folder_is_refused) {
  const testing::TemporaryFolder folder;
  EXPECT_NE(refusal({"inspect", "--json", folder.path().string()}).find("is a folder"),
            std::string::npos);
}

TEST(Options, several_images_keep_their_order) {
  const auto options = parsed<AskOptions>(ask_with({"--image", "b.png", "--image", "c.png"}));
  EXPECT_EQ(options.images, (std::vector<std::string>{"a.png", "b.png", "c.png"}));
}

TEST(Options, a_question_may_begin_with_a_dash) {
  EXPECT_EQ(parsed<AskOptions>({"ask", "--image", "a", "--question", "-5 or 5?"}).question,
            "-5 or 5?");
}

TEST(Options, seeds_cover_64_bits_and_nothing_wraps) {
  const auto options = parsed<AskOptions>(ask_with({"--seed", "18446744073709551615"}));
  EXPECT_EQ(options.generation.seed, std::numeric_limits<std::uint64_t>::max());
  for (const char* seed : {"-1", "18446744073709551616", "1.5", "0x10", "", "1e3"}) {
    EXPECT_NE(refusal(ask_with({"--seed", seed})).find("--seed"), std::string::npos) << seed;
  }
}

TEST(Options, numbers_outside_their_range_are_refused_by_name) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"--max-new-tokens", "0"}, {"--max-new-tokens", "many"},
      {"--temperature", "-0.1"}, {"--temperature", "nan"},
      {"--temperature", "inf"},  {"--top-p", "0"},
      {"--top-p", "1.01"},       {"--threads", "0"},
      {"--threads", "-3"},       {"--threads", "99999999999999999999"}};
  for (const auto& [option, value] : cases) {
    const std::string message = refusal(ask_with({option, value}));
    EXPECT_NE(message.find(option), std::string::npos) << message;
    EXPECT_NE(message.find(value), std::string::npos) << message;
  }
}

TEST(Options, names_outside_their_list_are_refused) {
  EXPECT_NE(refusal(ask_with({"--dtype", "f64"})).find("f32|bf16"), std::string::npos);
  EXPECT_NE(refusal(ask_with({"--device", "gpu"})).find("cuda:N"), std::string::npos);
  EXPECT_NE(refusal(ask_with({"--device", "cuda:x"})).find("cuda:N"), std::string::npos);
  EXPECT_NE(refusal(ask_with({"--image-aspect", "squash"})).find("pad|crop"), std::string::npos);
  EXPECT_EQ(parsed<AskOptions>(ask_with({"--device", "cuda:1"})).model.device, "cuda:1");
  EXPECT_TRUE(parsed<AskOptions>(ask_with({"--autotune"})).model.autotune);
  EXPECT_FALSE(parsed<AskOptions>(ask_with({})).model.autotune);
}

TEST(Options, a_question_and_a_picture_are_required_and_not_blank) {
  EXPECT_NE(refusal({"ask", "--image", "a"}).find("--question is required"), std::string::npos);
  EXPECT_NE(refusal({"ask", "--question", "a"}).find("--image is required"), std::string::npos);
  EXPECT_NE(refusal({"ask", "--image", "a", "--question", " \t\n"}).find("empty"),
            std::string::npos);
  EXPECT_NE(refusal({"ask", "--image", "", "--question", "a"}).find("--image"), std::string::npos);
}

TEST(Options, a_raw_prompt_takes_the_place_of_a_question) {
  const auto options = parsed<AskOptions>({"ask", "--image", "a", "--raw-prompt", "<image> x"});
  EXPECT_EQ(options.raw_prompt, "<image> x");
  EXPECT_NE(refusal(ask_with({"--raw-prompt", "x"})), "accepted");
  EXPECT_NE(refusal({"ask", "--raw-prompt", "  "}), "accepted");
}

TEST(Options, what_this_version_lacks_is_said_plainly) {
  for (const char* command : {"batch", "segment", "face", "face-edc", "x"}) {
    const std::string message = refusal({command});
    EXPECT_NE(message.find("this version has no command \"" + std::string(command)),
              std::string::npos)
        << message;
    EXPECT_NE(message.find("ask, chat"), std::string::npos) << message;
  }
  for (const char* option : {"--video", "--format", "--magic"}) {
    EXPECT_EQ(refusal(ask_with({option, "x"})),
              "this version has no option " + std::string(option));
  }
  EXPECT_EQ(refusal(ask_with({"more"})), "unexpected word more");
}

TEST(Options, help_and_version_are_texts) {
  const auto help = parse_command_line({"heatmap", "--help"});
  ASSERT_TRUE(help);
  EXPECT_FALSE(help->command.has_value());
  EXPECT_NE(help->text.find("--per-token"), std::string::npos);
  const auto version = parse_command_line({"--version"});
  ASSERT_TRUE(version);
  EXPECT_EQ(version->text.rfind("fovea ", 0), 0U);
  EXPECT_EQ(refusal({}).find("accepted"), std::string::npos);
}

TEST(Options, each_command_reads_its_own) {
  EXPECT_EQ(parsed<InspectOptions>({"inspect", "DIR", "--json"}).model.model, "DIR");
  EXPECT_EQ(parsed<BenchOptions>({"bench", "--shape", "llama-1.1b", "--repeat", "7"}).repeat, 7);
  EXPECT_EQ(parsed<EvalOptions>({"eval", "--questions", "q", "--limit", "5"}).limit, 5);
  EXPECT_EQ(parsed<ChatOptions>({"chat", "--image", "a"}).images.size(), 1U);
  const auto heatmap = parsed<HeatmapOptions>(
      {"heatmap", "--image", "a", "--question", "b", "--out", "c", "--layers", "3-5", "--flat"});
  EXPECT_EQ(heatmap.layers, "3-5");
  EXPECT_TRUE(heatmap.flat);
  EXPECT_NE(refusal({"heatmap", "--image", "a", "--question", "b"}).find("--out"),
            std::string::npos);
  EXPECT_NE(refusal({"bench"}).find("--shape"), std::string::npos);
}

}  // namespace
}  // namespace fovea::app
