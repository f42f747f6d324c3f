#include <gtest/gtest.h>

#include "app/table.h"
#include "command.h"

namespace fovea::testing {
namespace {

std::vector<std::string> compare(const std::string& settings,
                                 const std::vector<std::string>& more = {}) {
  std::vector<std::string> line{"ask",
                                "--model",
                                base_model(),
                                "--image",
                                eval_picture(),
                                "--question",
                                "What can you see at the bottom?",
                                "--threads",
                                "2",
                                "--compare",
                                settings};
  line.insert(line.end(), more.begin(), more.end());
  return line;
}

TEST(Compare, every_setting_answers_as_it_would_alone) {
  const CommandResult result = run_fovea(compare("none,adaptinfer,fastv:keep=9", {"--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto runs = at(json_of(result), {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 3U);
  const std::vector<std::string> names{"none", "adaptinfer", "fastv:keep=9"};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    std::vector<std::string> alone = compare("", {"--json"});
    alone.erase(alone.end() - 3, alone.end() - 1);
    alone.insert(alone.end(), {"--prune", names[i]});
    const Json single = json_of(run_fovea(alone));
    EXPECT_EQ(at(runs[i], {"prune"}).as_string(), names[i]);
    EXPECT_EQ(at(runs[i], {"token_ids"}).dump(), at(single, {"token_ids"}).dump());
    EXPECT_EQ(at(runs[i], {"answer"}).dump(), at(single, {"answer"}).dump());
    EXPECT_EQ(at(runs[i], {"visual_tokens"}).dump(), at(single, {"visual_tokens"}).dump());
    EXPECT_EQ(at(runs[i], {"changed"}).as_bool(),
              at(runs[i], {"token_ids"}).dump() != at(runs[0], {"token_ids"}).dump());
    // The one encoding of the picture counts for every setting.
    EXPECT_EQ(at(runs[i], {"timings_ms", "vision"}).dump(),
              at(runs[0], {"timings_ms", "vision"}).dump());
    EXPECT_GT(at(runs[i], {"timings_ms", "first_token"}).as_double(),
              at(runs[i], {"timings_ms", "vision"}).as_double());
  }
}

TEST(Compare, prints_a_table_with_a_line_for_each_setting) {
  const CommandResult result = run_fovea(compare("none,random:keep=288", {"--quiet"}));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), 3);
  for (const char* word : {"entering", "first token", "changed", "none", "random:keep=288"}) {
    EXPECT_NE(result.out.find(word), std::string::npos) << word;
  }
}

TEST(Compare, shared_options_apply_to_all_settings_that_prune) {
  const auto runs =
      at(json_of(run_fovea(compare("none,fastv,uniform", {"--prune-budget", "192", "--json"}))),
         {"runs"})
          .as_array();
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(at(runs[0], {"visual_tokens", "entering_mean"}).as_double(), 576);
  EXPECT_NEAR(at(runs[1], {"visual_tokens", "entering_mean"}).as_double(), 192, 1);
  EXPECT_NEAR(at(runs[2], {"visual_tokens", "entering_mean"}).as_double(), 192, 1);
}

TEST(Compare, a_setting_that_fails_leaves_the_others_standing) {
  const CommandResult result = run_fovea(compare("none,fastv:budget=3", {"--json"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("out of reach"), std::string::npos);
  const auto runs = at(json_of(result), {"runs"}).as_array();
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_FALSE(at(runs[0], {"answer"}).as_string().empty());
  EXPECT_NE(at(runs[1], {"error"}).as_string().find("out of reach"), std::string::npos);
}

TEST(Compare, lists_that_are_none_are_refused) {
  expect_refused(run_fovea(compare("none,magic")), 2, "magic");
  expect_refused(run_fovea(compare("none,")), 2, "There are");
  expect_refused(run_fovea(compare("")), 2, "--compare");
  expect_refused(run_fovea(compare("none", {"--prune", "fastv"})), 2, "--prune");
  expect_refused(run_fovea(compare("none", {"--dump-logits", "x.npy"})), 2, "--dump-logits");
}

TEST(Table, columns_are_as_wide_as_their_longest_cell) {
  app::Table table({{"name", app::Table::Align::left}, {"n"}, {"note", app::Table::Align::left}});
  table.add({"a", "1000", "x"});
  table.add({"déjà", "7", ""});
  EXPECT_EQ(table.text(),
            "name     n  note\n"
            "a     1000  x\n"
            "déjà     7\n");
}

TEST(Table, a_cell_is_one_line_of_limited_length) {
  EXPECT_EQ(app::cell_text(" a\nb\tc\x1b[1m ", 20), "a b c [1m");
  EXPECT_EQ(app::cell_text("abcdef", 6), "abcdef");
  EXPECT_EQ(app::cell_text("abcdefg", 6), "abcde…");
  EXPECT_EQ(app::cell_text("ééééééé", 3), "éé…");
}

}  // namespace
}  // namespace fovea::testing
