#include "kernels/ops/alike/alike.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/numbers.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

using Ids = std::vector<std::int32_t>;
using Keys = std::vector<std::vector<float>>;

class AlikeTest : public DeviceTest<DeviceCase> {};

struct Merged {
  Ids offsets, sources;
  std::vector<float> weights, sizes, bias;
};

/// As many merge as are asked for, or can.
Merged groups(Context& context, const Keys& keys, const std::vector<float>& sizes,
              std::int64_t count, std::int64_t special) {
  std::vector<float> flat;
  for (const auto& key : keys) flat.insert(flat.end(), key.begin(), key.end());
  const auto n = static_cast<std::int64_t>(keys.size());
  const auto left = static_cast<std::size_t>(n - std::min(count, most_merges(n, special)));
  Scores keys_there(context, flat), sizes_there(context, sizes),
      weights(context, std::vector<float>(keys.size(), -7.0f)),
      new_sizes(context, std::vector<float>(left, -7.0f)),
      bias(context, std::vector<float>(left, -7.0f));
  Numbers offsets(context, Ids(left + 1, -7)), members(context, Ids(keys.size(), -7));
  const Status status = merge_alike(
      context, keys_there.matrix(n), sizes_there.view(), special,
      {{offsets.view(), members.view()}, weights.view(), new_sizes.view(), bias.view()});
  EXPECT_TRUE(status) << status.error().to_string();
  return {offsets.fetch(), members.fetch(), weights.fetch(), new_sizes.fetch(), bias.fetch()};
}

// Class token, then patches 1 to 5. Even places 2 and 4 look among the odd 1, 3, 5: 2 is like 3,
// 4 like 5 but less.
const Keys kKeys{{1, 0}, {1, 0}, {0, 2}, {0, 1}, {1, 1}, {1, .5f}};

TEST_P(AlikeTest, the_closest_merges_first_weighted_by_size) {
  Context context = test_context(GetParam().device);
  const Merged one = groups(context, kKeys, {1, 1, 3, 1, 1, 1}, 1, 1);
  EXPECT_EQ(one.offsets, (Ids{0, 1, 2, 3, 5, 6}));
  EXPECT_EQ(one.sources, (Ids{0, 4, 1, 3, 2, 5})) << "class token, even ones left, odd ones";
  EXPECT_EQ(one.weights, (std::vector<float>{1, 1, 1, .25f, .75f, 1}));
  EXPECT_EQ(one.sizes, (std::vector<float>{1, 1, 1, 4, 1}));
  EXPECT_NEAR(one.bias[3], std::log(4.0f), 1e-6);
  EXPECT_EQ(one.bias[0], 0.0f);
  const Merged two = groups(context, kKeys, {1, 1, 3, 1, 1, 1}, 2, 1);
  EXPECT_EQ(two.sources, (Ids{0, 1, 3, 2, 5, 4}));
  EXPECT_EQ(two.offsets, (Ids{0, 1, 2, 4, 6}));
}

TEST_P(AlikeTest, the_length_of_a_key_does_not_matter) {
  Context context = test_context(GetParam().device);
  Keys longer = kKeys;
  for (float& value : longer[4]) value *= 100;
  EXPECT_EQ(groups(context, longer, std::vector<float>(6, 1), 1, 1).sources,
            groups(context, kKeys, std::vector<float>(6, 1), 1, 1).sources);
}

TEST_P(AlikeTest, several_may_merge_into_one) {
  Context context = test_context(GetParam().device);
  const Merged found =
      groups(context, {{9, 9}, {1, 0}, {1, 0}, {0, 1}, {1, 0}, {0, -1}}, {1, 1, 2, 1, 1, 1}, 2, 1);
  EXPECT_EQ(found.sources, (Ids{0, 1, 2, 4, 3, 5}));
  EXPECT_EQ(found.weights, (std::vector<float>{1, .25f, .5f, .25f, 1, 1}));
}

TEST_P(AlikeTest, special_tokens_stand_alone_and_first) {
  Context context = test_context(GetParam().device);
  // Places 0 and 1 are special though their keys equal everyone's.
  const Keys alike(6, {1, 1});
  const Merged found = groups(context, alike, std::vector<float>(6, 1), 9, 2);
  EXPECT_EQ(found.sources, (Ids{0, 1, 3, 2, 4, 5})) << "equals take the lower index";
  EXPECT_EQ(found.offsets, (Ids{0, 1, 2, 5, 6}));
}

TEST_P(AlikeTest, equal_likeness_merges_the_lower_index) {
  Context context = test_context(GetParam().device);
  const Keys alike(5, {1, 1});
  EXPECT_EQ(groups(context, alike, std::vector<float>(5, 1), 1, 1).sources, (Ids{0, 4, 1, 2, 3}));
}

TEST_P(AlikeTest, many_tokens_merge_as_on_the_host) {
  Context context = test_context(GetParam().device), host;
  Random random(21);
  for (const std::size_t n : {1u, 2u, 197u, 578u}) {
    Keys keys(n);
    std::vector<float> sizes;
    for (auto& key : keys) {
      key = random.normals(33);
      sizes.push_back(static_cast<float>(random.integer(1, 5)));
    }
    for (const std::int64_t special : {0, 1, 2}) {
      for (const std::int64_t count : {0, 1, 40, 400}) {
        if (special > static_cast<std::int64_t>(n)) continue;
        const Merged there = groups(context, keys, sizes, count, special);
        const Merged here = groups(host, keys, sizes, count, special);
        EXPECT_EQ(there.offsets, here.offsets) << n << ", " << count << ", " << special;
        EXPECT_EQ(there.sources, here.sources) << n << ", " << count << ", " << special;
        EXPECT_EQ(there.weights, here.weights);
        EXPECT_EQ(there.sizes, here.sizes);
      }
    }
  }
}

TEST_P(AlikeTest, more_merges_than_there_can_be_are_refused) {
  Context context = test_context(GetParam().device);
  Scores keys(context, std::vector<float>(8, 1)), sizes(context, std::vector<float>(4, 1)),
      two(context, std::vector<float>(2, 1));
  Numbers offsets(context, Ids(3, 0)), members(context, Ids(4, 0));
  EXPECT_FALSE(
      merge_alike(context, keys.matrix(4), sizes.view(), 1,
                  {{offsets.view(), members.view()}, sizes.view(), two.view(), two.view()}));
}

INSTANTIATE_TEST_SUITE_P(Devices, AlikeTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
