#include "app/eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fovea::app {
namespace {

EvalItem item(const std::string& image, const std::string& category,
              std::optional<std::vector<std::int32_t>> evidence = {}) {
  EvalItem made;
  if (!image.empty()) made.images.push_back(image);
  made.category = category;
  made.evidence = std::move(evidence);
  return made;
}

Outcome scored(double score) {
  Outcome outcome;
  outcome.state = Outcome::State::answered;
  outcome.score = score;
  return outcome;
}

TEST(EvalStatistics, intervals_hold_95_percent_of_the_means) {
  // 400 questions, each a picture of its own, half of them right: the interval of a mean of 0.5 is
  // 1.96 x 0.5 / sqrt(400) wide to either side.
  std::vector<std::size_t> clusters;
  std::vector<std::optional<double>> values;
  for (std::size_t i = 0; i < 400; ++i) {
    clusters.push_back(i);
    values.emplace_back(i % 2 == 0 ? 1.0 : 0.0);
  }
  const Bootstrap bootstrap(clusters, 400, 4000, 1);
  const auto interval = bootstrap.interval(values);
  ASSERT_TRUE(interval);
  EXPECT_NEAR(interval->low, 0.5 - 0.049, 0.006);
  EXPECT_NEAR(interval->high, 0.5 + 0.049, 0.006);
}

TEST(EvalStatistics, questions_about_one_picture_are_drawn_together) {
  // Ten questions a picture, all right or all wrong: as wide as 40 questions alone would be.
  std::vector<std::size_t> clusters;
  std::vector<std::optional<double>> values;
  for (std::size_t i = 0; i < 400; ++i) {
    clusters.push_back(i / 10);
    values.emplace_back(i / 10 % 2 == 0 ? 1.0 : 0.0);
  }
  const auto interval = Bootstrap(clusters, 40, 4000, 1).interval(values);
  ASSERT_TRUE(interval);
  EXPECT_NEAR(interval->high - interval->low, 2 * 1.96 * 0.5 / std::sqrt(40.0), 0.03);
}

TEST(EvalStatistics, intervals_repeat_and_depend_on_what_counts_alone) {
  const std::vector<std::size_t> clusters{0, 0, 1, 2};
  const Bootstrap bootstrap(clusters, 3, 200, 1);
  const std::vector<std::optional<double>> values{1.0, std::nullopt, 0.0, 1.0};
  const auto a = bootstrap.interval(values), b = Bootstrap(clusters, 3, 200, 1).interval(values);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->low, b->low);
  EXPECT_EQ(a->high, b->high);
  EXPECT_FALSE(bootstrap.interval({std::nullopt, std::nullopt, std::nullopt, std::nullopt}));
  const auto sure = bootstrap.interval({1.0, 1.0, 1.0, 1.0});
  EXPECT_EQ(sure->low, 1.0);
  EXPECT_EQ(sure->high, 1.0);
}

TEST(EvalStatistics, text_questions_are_clusters_of_their_own) {
  std::vector<std::size_t> clusters;
  EXPECT_EQ(
      picture_clusters({item("a", ""), item("", ""), item("b", ""), item("a", ""), item("", "")},
                       clusters),
      4U);
  EXPECT_EQ(clusters, (std::vector<std::size_t>{0, 1, 2, 0, 3}));
}

TEST(EvalStatistics, thirds_by_size_keep_equal_sizes_together) {
  std::vector<EvalItem> items;
  for (const int size : {1, 2, 2, 2, 5, 9}) {
    std::vector<std::int32_t> cells;
    for (int i = 0; i < size; ++i) cells.push_back(i);
    items.push_back(item("a", "at", cells));
  }
  items.push_back(item("a", "at", std::vector<std::int32_t>{}));  // nothing holds the answer
  items.push_back(item("a", "where"));                            // nobody knows
  const auto groups = make_groups(items, {576, 24});
  ASSERT_EQ(groups.size(), 2U + 1U + 3U + 3U);
  EXPECT_EQ(groups[0].name, "at");
  EXPECT_EQ(groups[0].items.size(), 7U);
  EXPECT_EQ(groups[1].name, "where");
  EXPECT_EQ(groups[2].kind, Group::Kind::evidence);
  EXPECT_EQ(groups[2].items.size(), 6U);
  EXPECT_EQ(groups[3].name, "small");
  EXPECT_EQ(groups[3].note, "1 to 2 cells");
  EXPECT_EQ(groups[3].items, (std::vector<std::size_t>{0, 1, 2, 3}));
  EXPECT_EQ(groups[4].note, "5 cells");
  EXPECT_EQ(groups[5].note, "9 cells");
}

TEST(EvalStatistics, bands_go_by_the_mean_row_within_the_picture) {
  std::vector<EvalItem> items;
  items.push_back(item("a", "", std::vector<std::int32_t>{0, 191}));         // rows 0 and 7
  items.push_back(item("a", "", std::vector<std::int32_t>{192}));            // row 8
  items.push_back(item("a", "", std::vector<std::int32_t>{575}));            // row 23
  items.push_back(item("a", "", std::vector<std::int32_t>{576, 576 + 24}));  // second picture
  const auto groups = make_groups(items, {576, 24});
  const auto band = [&](const std::string& name) {
    for (const Group& group : groups) {
      if (group.kind == Group::Kind::evidence_row && group.name == name) return group.items;
    }
    return std::vector<std::size_t>();
  };
  EXPECT_EQ(band("top"), (std::vector<std::size_t>{0, 3}));
  EXPECT_EQ(band("middle"), std::vector<std::size_t>{1});
  EXPECT_EQ(band("bottom"), std::vector<std::size_t>{2});
  // A class token before the cells has no row, and moves the others by one.
  const auto with_class =
      make_groups({item("a", "", std::vector<std::int32_t>{0, 576})}, {577, 24});
  EXPECT_EQ(with_class.back().items, std::vector<std::size_t>{0});
}

TEST(EvalStatistics, a_summary_counts_failures_as_wrong_and_leaves_out_what_was_skipped) {
  std::vector<Outcome> outcomes{scored(1), scored(0.5),
                                failed_outcome(make_error(ErrorCode::io, "")), Outcome{}};
  outcomes[0].ran = true;
  outcomes[0].visual = 576;
  outcomes[0].entering_mean = 100;
  outcomes[0].first_token_ms = 10;
  outcomes[1].ran = true;  // a text question
  outcomes[1].first_token_ms = 30;
  const Bootstrap bootstrap({0, 1, 2, 3}, 4, 100, 1);
  const Summary s = summarise(outcomes, nullptr, {}, bootstrap);
  EXPECT_EQ(s.all.questions, 3);
  EXPECT_DOUBLE_EQ(*s.all.value(), 0.5);
  EXPECT_EQ(s.right, 1);
  EXPECT_EQ(s.failed, 1);
  EXPECT_EQ(*s.entering_mean, 100);
  EXPECT_EQ(*s.first_token_ms, 20);
  EXPECT_FALSE(s.evidence_kept);
  EXPECT_FALSE(s.difference);

  const std::vector<Outcome> first{scored(1), scored(1), scored(0), scored(1)};
  const Summary against = summarise(outcomes, &first, {}, bootstrap);
  EXPECT_DOUBLE_EQ(*against.difference_value, -0.5 / 3);
  EXPECT_LE(against.difference->low, *against.difference_value);
  EXPECT_GE(against.difference->high, *against.difference_value);
}

}  // namespace
}  // namespace fovea::app
