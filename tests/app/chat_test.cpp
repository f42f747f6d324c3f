#include <gtest/gtest.h>

#include "command.h"

namespace fovea::testing {
namespace {

CommandResult chat(const std::string& lines, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"chat", "--model",          base_model(), "--threads",
                                     "2",    "--max-new-tokens", "16"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_fovea(arguments, {.text = lines});
}

TEST(Chat, a_first_turn_answers_as_ask_does) {
  const CommandResult asked = run_fovea({"ask", "--model", base_model(), "--image", eval_picture(),
                                         "--question", "What can you see at the bottom?", "--quiet",
                                         "--threads", "2", "--max-new-tokens", "16"});
  const CommandResult result =
      chat("What can you see at the bottom?\n", {"--image", eval_picture()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, asked.out);
  EXPECT_EQ(chat("/image " + eval_picture() + "\nWhat can you see at the bottom?").out, asked.out);
}

TEST(Chat, each_question_gets_a_line_until_the_end_or_quit) {
  const std::string two = "What can you see at the bottom?\n\nWhat colour is the circle?\n";
  const auto lines = [](const CommandResult& result) {
    return std::count(result.out.begin(), result.out.end(), '\n');
  };
  EXPECT_EQ(lines(chat(two, {"--image", eval_picture()})), 2);
  EXPECT_EQ(lines(chat(two + "/quit\nMore?\n", {"--image", eval_picture()})), 2);
  EXPECT_EQ(lines(chat("", {"--image", eval_picture()})), 0);
}

TEST(Chat, reset_begins_anew) {
  const std::string turn = "/image " + eval_picture() + "\nWhat can you see at the bottom?\n";
  const CommandResult result = chat(turn + "/reset\n" + turn);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const std::string half = result.out.substr(0, result.out.size() / 2);
  EXPECT_EQ(result.out, half + half);
}

TEST(Chat, what_fails_is_said_and_the_conversation_goes_on) {
  const CommandResult result =
      chat("/image nowhere.png\n/nonsense\n/help\nWhat can you see at the bottom?\n",
           {"--image", eval_picture()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("nowhere.png"), std::string::npos);
  EXPECT_NE(result.err.find("/nonsense"), std::string::npos);
  EXPECT_NE(result.err.find("/reset"), std::string::npos);
  EXPECT_GT(result.out.size(), 1U);
}

TEST(Chat, control_c_stops_the_answer_and_not_the_program) {
  // A hot model goes on for long; the first word is the sign to press Ctrl-C.
  const std::vector<std::string> arguments{
      "chat", "--model", base_model(),    "--image", eval_picture(),     "--threads",
      "1",    "--quiet", "--temperature", "100",     "--max-new-tokens", "1000"};
  CommandInput input;
  input.text = "What can you see?\n/help\n";
  input.interrupt_after_output = " ";
  const CommandResult result = run_fovea(arguments, input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.err.find("/quit"), std::string::npos) << "the line after the stopped answer ran";
}

TEST(Chat, control_c_ends_ask_with_130_and_no_file) {
  const TemporaryFolder folder;
  CommandInput input;
  input.interrupt_after_output = " ";
  const CommandResult result =
      run_fovea({"ask", "--model", base_model(), "--image", eval_picture(), "--question",
                 "What can you see?", "--threads", "1", "--temperature", "100", "--max-new-tokens",
                 "1000", "--json", folder / "a.json"},
                input);
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_EQ(folder.entries(), 0U);
}

}  // namespace
}  // namespace fovea::testing
