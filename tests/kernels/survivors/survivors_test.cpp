#include "kernels/ops/survivors/survivors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "support/numbers.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class SurvivorsTest : public DeviceTest<DeviceCase> {};

using List = std::vector<std::int32_t>;

struct Closed {
  List firsts, offsets, sources;
  std::vector<float> weights;
  bool operator==(const Closed&) const = default;
};

struct Choice {
  List sources, offsets;  // offsets may be empty
  std::vector<float> weights;
  std::int64_t appended = 0;
};

/// The rule word by word.
Closed expected(std::int32_t total, const List& visual, const Choice& choice) {
  Closed closed;
  closed.offsets.push_back(0);
  const auto begin = [&](std::size_t i) {
    return choice.offsets.empty() ? i : static_cast<std::size_t>(choice.offsets[i]);
  };
  const std::size_t count =
      choice.offsets.empty() ? choice.sources.size() : choice.offsets.size() - 1;
  const std::size_t in_place = count - static_cast<std::size_t>(choice.appended);
  const auto add = [&](std::size_t i) {
    closed.firsts.push_back(visual[static_cast<std::size_t>(choice.sources[begin(i)])]);
    for (std::size_t s = begin(i); s < begin(i + 1); ++s) {
      closed.sources.push_back(visual[static_cast<std::size_t>(choice.sources[s])]);
      closed.weights.push_back(choice.weights.empty() ? 1.0f : choice.weights[s]);
    }
    closed.offsets.push_back(static_cast<std::int32_t>(closed.sources.size()));
  };
  for (std::int32_t row = 0; row < total; ++row) {
    if (!std::binary_search(visual.begin(), visual.end(), row)) {
      closed.firsts.push_back(row);
      closed.sources.push_back(row);
      closed.weights.push_back(1.0f);
      closed.offsets.push_back(static_cast<std::int32_t>(closed.sources.size()));
      continue;
    }
    for (std::size_t i = 0; i < in_place; ++i) {
      if (visual[static_cast<std::size_t>(choice.sources[begin(i)])] == row) add(i);
    }
    if (row == visual.back()) {
      for (std::size_t i = in_place; i < count; ++i) add(i);
    }
  }
  return closed;
}

Closed close(Context& context, std::int32_t total, const List& visual, const Choice& choice) {
  Numbers sources(context, choice.sources), offsets(context, choice.offsets);
  Scores weights(context, choice.weights);
  SurvivorList list{.sources = sources.view(), .appended = choice.appended};
  if (!choice.offsets.empty()) list.offsets = offsets.view();
  if (!choice.weights.empty()) list.weights = weights.view();
  const auto rows = static_cast<std::size_t>(total - std::ssize(visual) + list.count());
  const std::size_t all = static_cast<std::size_t>(total) - visual.size() + choice.sources.size();
  Numbers firsts(context, List(rows, -7)), new_offsets(context, List(rows + 1, -7)),
      new_sources(context, List(all, -7));
  Scores new_weights(context, std::vector<float>(all, -7.0f));
  const Status status =
      close_up(context, list, visual,
               {firsts.view(), new_offsets.view(), new_sources.view(), new_weights.view()});
  EXPECT_TRUE(status) << status.error().to_string();
  // The names of the rows alone are the same.
  Numbers again(context, List(rows, -7));
  EXPECT_TRUE(close_up(context, list, visual, {.firsts = again.view()}));
  EXPECT_EQ(again.fetch(), firsts.fetch());
  return {firsts.fetch(), new_offsets.fetch(), new_sources.fetch(), new_weights.fetch()};
}

TEST_P(SurvivorsTest, rows_close_up_wherever_the_visual_tokens_stand) {
  Context context = test_context(GetParam().device);
  const List apart{2, 3, 4, 7, 8, 11}, together{3, 4, 5, 6, 7, 8}, ends{0, 1, 9, 10, 11, 12};
  for (const List& visual : {apart, together, ends}) {
    for (const List& kept : {List{1, 3, 4}, List{0, 1, 2, 3, 4, 5}, List{5}, List{}}) {
      EXPECT_EQ(close(context, 13, visual, {kept, {}, {}, 0}),
                expected(13, visual, {kept, {}, {}, 0}))
          << kept.size() << " of those from " << visual.front();
    }
  }
}

TEST_P(SurvivorsTest, merged_tokens_stand_where_their_first_source_stood_or_behind_the_last) {
  Context context = test_context(GetParam().device);
  const List apart{2, 3, 4, 7, 8, 11}, together{3, 4, 5, 6, 7, 8};
  // Tokens 0 and 3 in place, one with token 5; 2, 1 and 4 become the last.
  const Choice merged{{0, 3, 5, 2, 1, 4}, {0, 1, 3, 6}, {1, .75f, .25f, .5f, .25f, .25f}, 1};
  const Choice only_appended{{4, 0, 1}, {0, 2, 3}, {.5f, .5f, 1}, 2};
  for (const List& visual : {apart, together}) {
    for (const Choice& choice : {merged, only_appended}) {
      EXPECT_EQ(close(context, 14, visual, choice), expected(14, visual, choice));
    }
  }
}

TEST_P(SurvivorsTest, long_sequences_with_text_between_pictures_close_up) {
  Context context = test_context(GetParam().device);
  Random random(5);
  List visual;
  std::int32_t total = 31;
  for (int picture = 0; picture < 3; ++picture) {
    for (int i = 0; i < 576; ++i) visual.push_back(total++);
    total += picture == 2 ? 0 : 7;
  }
  Choice choice;
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(visual.size()); ++i) {
    if (random.integer(0, 3) == 0) choice.sources.push_back(i);
  }
  EXPECT_EQ(close(context, total, visual, choice), expected(total, visual, choice));
}

TEST_P(SurvivorsTest, lists_that_do_not_fit_are_refused) {
  Context context = test_context(GetParam().device);
  Numbers kept(context, {0, 1, 2}), rows(context, List(5, 0));
  const List visual{1, 2};
  EXPECT_FALSE(close_up(context, {.sources = kept.view()}, visual, {.firsts = rows.view()}));
  EXPECT_FALSE(close_up(context, {.sources = kept.view(), .appended = 4}, List{1, 2, 3, 4},
                        {.firsts = rows.view()}));
  EXPECT_FALSE(close_up(context, {.sources = kept.view()}, List{1, 2, 3, 4},
                        {.firsts = rows.view(), .offsets = rows.view()}));
}

INSTANTIATE_TEST_SUITE_P(Devices, SurvivorsTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
