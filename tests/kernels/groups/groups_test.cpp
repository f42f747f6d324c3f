#include "kernels/ops/groups/groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "support/numbers.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class GroupsTest : public DeviceTest<DeviceCase> {};

using List = std::vector<std::int32_t>;
using ListOfGroups = std::vector<List>;

/// Room for groups, and what was written there.
class GroupsThere {
 public:
  GroupsThere(Context& context, std::int64_t groups, std::int64_t members)
      : offsets_(context, List(static_cast<std::size_t>(groups + 1), -7)),
        members_(context, List(static_cast<std::size_t>(members), -7)) {}
  Groups view() { return {offsets_.view(), members_.view()}; }
  ListOfGroups fetch() {
    const List offsets = offsets_.fetch(), members = members_.fetch();
    ListOfGroups found;
    for (std::size_t g = 0; g + 1 < offsets.size(); ++g) {
      found.emplace_back(members.begin() + offsets[g], members.begin() + offsets[g + 1]);
    }
    return found;
  }

 private:
  Numbers offsets_, members_;
};

ListOfGroups peaks(Context& context, const std::vector<float>& values, std::int64_t rows,
                   std::int64_t groups) {
  Scores x(context, values);
  GroupsThere found(context, groups, rows);
  const Status status = density_peak_groups(context, x.matrix(rows), found.view());
  EXPECT_TRUE(status) << status.error().to_string();
  return found.fetch();
}

// Two clusters on a line, {0, 1, 2} and {10, 11}. Each row's two nearest are itself and a
// neighbour at 1, so that all are equally dense and the first is densest of all: it takes the
// farthest distance (11). The others lie 1, 1, 8 and 1 from their nearest earlier row.
TEST_P(GroupsTest, clusters_on_a_line_are_found_and_ties_go_to_the_first) {
  Context context = test_context(GetParam().device);
  EXPECT_EQ(peaks(context, {0, 1, 2, 10, 11}, 5, 2), (ListOfGroups{{0, 1, 2}, {3, 4}}));
}

// With its neighbour at .5 rows 1 and 2 have density .88, row 0 at 3 only .01. Row 1, the first of
// the densest, takes the farthest distance (3.5 x .88); row 2 has .5 x .88, row 0 3 x .01.
TEST_P(GroupsTest, the_densest_row_is_the_first_centre_and_a_lonely_one_is_none) {
  Context context = test_context(GetParam().device);
  EXPECT_EQ(peaks(context, {0, 3, 3.5f}, 3, 2), (ListOfGroups{{1, 0}, {2}}));
}

TEST_P(GroupsTest, one_group_gathers_everything_and_n_groups_nothing) {
  Context context = test_context(GetParam().device);
  EXPECT_EQ(peaks(context, {5, 6, 7}, 3, 1), (ListOfGroups{{0, 1, 2}}));
  EXPECT_EQ(peaks(context, {5, 6, 9}, 3, 3).size(), 3u);
}

TEST_P(GroupsTest, equal_rows_are_grouped_the_same_every_time) {
  Context context = test_context(GetParam().device);
  EXPECT_EQ(peaks(context, {2, 2, 2, 2}, 4, 2), (ListOfGroups{{0, 2, 3}, {1}}));
}

TEST_P(GroupsTest, many_wide_rows_fall_into_the_groups_of_the_host) {
  Context context = test_context(GetParam().device), host;
  for (const std::int64_t rows : {83, 300}) {
    std::vector<float> values = Random(6).normals(rows * 97);
    // Some rows are twins of others.
    for (std::int64_t i = 1; i < rows; i += 9) {
      std::copy_n(values.begin() + (i - 1) * 97, 97, values.begin() + i * 97);
    }
    const std::int64_t groups = rows / 10 + 1;
    EXPECT_EQ(peaks(context, values, rows, groups), peaks(host, values, rows, groups));
  }
}

TEST_P(GroupsTest, others_join_what_they_are_most_like) {
  Context context = test_context(GetParam().device);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Scores likeness(context,
                  {.5f, .9f, .1f, .7f, .7f, .2f, nan, -1, -1, nan, nan, nan, .1f, .2f, .3f});
  GroupsThere found(context, 3, 8);
  ASSERT_TRUE(join_most_alike(context, likeness.matrix(5), found.view()));
  EXPECT_EQ(found.fetch(), (ListOfGroups{{0, 4, 6}, {1, 3, 5}, {2, 7}}));

  Context host;
  const std::vector<float> many = Random(7).normals(std::int64_t{355} * 30);
  GroupsThere there(context, 30, 385), here(host, 30, 385);
  Scores many_there(context, many), many_here(host, many);
  ASSERT_TRUE(join_most_alike(context, many_there.matrix(355), there.view()));
  ASSERT_TRUE(join_most_alike(host, many_here.matrix(355), here.view()));
  EXPECT_EQ(there.fetch(), here.fetch());
}

TEST_P(GroupsTest, a_list_loses_the_numbers_of_another) {
  Context context = test_context(GetParam().device);
  Numbers all(context, {1, 2, 5, 8, 9}), some(context, {2, 9}), rest(context, {0, 0, 0}),
      two(context, {0, 0});
  ASSERT_TRUE(without(context, all.view(), some.view(), rest.view()));
  EXPECT_EQ(rest.fetch(), (List{1, 5, 8}));
  EXPECT_FALSE(without(context, all.view(), some.view(), two.view()));
}

TEST_P(GroupsTest, a_selection_lists_singles_and_then_groups) {
  Context context = test_context(GetParam().device);
  Numbers singles(context, {3, 7}), names(context, {10, 20, 30, 40, 50}),
      group_offsets(context, {0, 1, 5}), members(context, {4, 0, 1, 2, 3});
  Numbers sources(context, List(7, 0)), offsets(context, List(5, 0));
  Scores weights(context, std::vector<float>(7, 0.0f));
  const Groups groups{group_offsets.view(), members.view()};
  ASSERT_TRUE(singles_and_groups(context, singles.view(), names.view(), groups, GroupWeights::mean,
                                 sources.view(), offsets.view(), weights.view()));
  EXPECT_EQ(sources.fetch(), (List{3, 7, 50, 10, 20, 30, 40}));
  EXPECT_EQ(offsets.fetch(), (List{0, 1, 2, 3, 7}));
  EXPECT_EQ(weights.fetch(), (std::vector<float>{1, 1, 1, .25f, .25f, .25f, .25f}));
  ASSERT_TRUE(singles_and_groups(context, singles.view(), names.view(), groups,
                                 GroupWeights::first_and_mean, sources.view(), offsets.view(),
                                 weights.view()));
  EXPECT_EQ(weights.fetch(),
            (std::vector<float>{1, 1, 1, 1, 1.0f / 3.0f, 1.0f / 3.0f, 1.0f / 3.0f}));
}

INSTANTIATE_TEST_SUITE_P(Devices, GroupsTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
