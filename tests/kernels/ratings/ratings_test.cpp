#include "kernels/ops/ratings/ratings.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/numbers.h"
#include "support/twins.h"

namespace fovea::testing {
namespace {

class RatingsTest : public DeviceTest<DeviceCase> {};

std::vector<float> shares(Context& context, const std::vector<float>& products,
                          std::int64_t tokens) {
  Scores given(context, products);
  Scores out(context,
             std::vector<float>(products.size() / static_cast<std::size_t>(tokens), -1.0f));
  const Status status = rater_shares(context, given.matrix(tokens), out.view());
  EXPECT_TRUE(status) << status.error().to_string();
  return out.fetch();
}

// Dot products with the one visual token are ln 6, ln 3, ln 1: shares .6, .3, .1, mean 1/3.
TEST_P(RatingsTest, words_above_the_mean_affinity_are_raters) {
  Context context = test_context(GetParam().device);
  EXPECT_EQ(shares(context, {std::log(6.0f), std::log(3.0f), 0.0f}, 1),
            (std::vector<float>{1, 0, 0}));
}

// Softmax runs over words for each visual token: [.8, .2] and [.1, .9], means [.45, .55].
TEST_P(RatingsTest, affinity_is_averaged_over_visual_tokens_after_the_softmax) {
  Context context = test_context(GetParam().device);
  EXPECT_EQ(shares(context, {std::log(4.0f), 0.0f, 0.0f, std::log(9.0f)}, 2),
            (std::vector<float>{0, 1}));
}

TEST_P(RatingsTest, several_raters_share_the_rating_equally) {
  Context context = test_context(GetParam().device);
  EXPECT_EQ(shares(context, {std::log(4.0f), std::log(4.0f), 0.0f}, 1),
            (std::vector<float>{.5f, .5f, 0}));
}

TEST_P(RatingsTest, where_no_word_stands_out_all_rate) {
  Context context = test_context(GetParam().device);
  EXPECT_EQ(shares(context, {.5f, 1.0f}, 2), (std::vector<float>{1}));
  EXPECT_EQ(shares(context, {.5f, .5f}, 1), (std::vector<float>{.5f, .5f}));
}

TEST_P(RatingsTest, many_words_and_tokens_choose_the_raters_that_double_chooses) {
  Context context = test_context(GetParam().device);
  constexpr std::int64_t kTokens = 577, kWords = 45;
  const std::vector<float> products = Random(3).normals(kTokens * kWords, 2.0f);
  std::vector<double> affinity(kWords, 0.0);
  for (std::size_t t = 0; t < kTokens; ++t) {
    double sum = 0;
    for (std::size_t w = 0; w < kWords; ++w) sum += std::exp(double{products[t * kWords + w]});
    for (std::size_t w = 0; w < kWords; ++w) {
      affinity[w] += std::exp(double{products[t * kWords + w]}) / sum;
    }
  }
  double mean = 0, raters = 0;
  for (const double value : affinity) mean += value / kWords;
  for (const double value : affinity) raters += value > mean ? 1 : 0;
  std::vector<float> expected;
  for (const double value : affinity) {
    expected.push_back(value > mean ? 1.0f / static_cast<float>(raters) : 0.0f);
  }
  EXPECT_EQ(shares(context, products, kTokens), expected);
}

TEST_P(RatingsTest, ratings_take_the_distance_out_and_round_as_written) {
  Context context = test_context(GetParam().device);
  constexpr std::int64_t kHeads = 5, kRows = 7, kColumns = 300;
  Random random(4);
  std::vector<float> tile = random.normals(kHeads * kRows * kColumns), weights, share;
  std::vector<std::int32_t> rows, columns;
  for (std::int32_t i = 0; i < 400; ++i) weights.push_back(random.uniform(.5f, 3.0f));
  for (std::int32_t r = 0; r < kRows; ++r) {
    rows.push_back(330 + 3 * r);
    share.push_back(r % 3 == 1 ? 0.0f : 0.2f);
  }
  for (std::int32_t c = 0; c < kColumns; ++c) columns.push_back(c + (c > 200 ? 30 : 0));
  std::vector<float> expected(kHeads * kColumns, 0.0f);
  for (std::size_t h = 0; h < kHeads; ++h) {
    for (std::size_t r = 0; r < kRows; ++r) {
      if (share[r] == 0) continue;
      for (std::size_t c = 0; c < kColumns; ++c) {
        const float correction =
            share[r] / weights[static_cast<std::size_t>(std::abs(rows[r] - columns[c]))];
        volatile float product = tile[(h * kRows + r) * kColumns + c] * correction;
        expected[h * kColumns + c] += product;
      }
    }
  }
  Scores tile_there(context, tile), share_there(context, share),
      ratings(context, std::vector<float>(expected.size(), -1.0f));
  TensorView view = tile_there.view();
  view = TensorView(view.data, DType::f32, Shape{kHeads, kRows, kColumns}, view.device);
  const Status status = rate_by_distance(context, view, share_there.view(), rows, columns, weights,
                                         ratings.matrix(kHeads));
  ASSERT_TRUE(status) << status.error().to_string();
  EXPECT_EQ(ratings.fetch(), expected);
  weights.resize(300);  // too few for the farthest pair
  EXPECT_FALSE(rate_by_distance(context, view, share_there.view(), rows, columns, weights,
                                ratings.matrix(kHeads)));

  std::vector<float> sums;
  for (std::size_t h = 0; h < kHeads; ++h) {
    double sum = 0;
    for (std::size_t c = 0; c < kColumns; ++c) sum += expected[h * kColumns + c];
    sums.push_back(static_cast<float>(sum));
  }
  Scores masses(context, std::vector<float>(kHeads, 0.0f));
  ASSERT_TRUE(row_sums(context, ratings.matrix(kHeads), masses.view()));
  EXPECT_EQ(masses.fetch(), sums);

  Numbers chosen(context, {0, 2, 3});
  Scores mean(context, std::vector<float>(kColumns, 0.0f));
  ASSERT_TRUE(mean_of_rows(context, ratings.matrix(kHeads), chosen.view(), mean.view()));
  std::vector<float> means(kColumns, 0.0f);
  for (const std::size_t h : {0u, 2u, 3u}) {
    for (std::size_t c = 0; c < kColumns; ++c) means[c] += expected[h * kColumns + c] / 3.0f;
  }
  EXPECT_EQ(mean.fetch(), means);
}

TEST_P(RatingsTest, scores_multiply_and_numbers_shift_in_place) {
  Context context = test_context(GetParam().device);
  Scores a(context, {1.5f, -2, 0}), b(context, {2, .25f, 7});
  ASSERT_TRUE(multiply_scores(context, a.view(), b.view()));
  EXPECT_EQ(a.fetch(), (std::vector<float>{3, -.5f, 0}));
  Numbers numbers(context, {4, 0, 9});
  ASSERT_TRUE(shift_numbers(context, numbers.view(), 576));
  EXPECT_EQ(numbers.fetch(), (std::vector<std::int32_t>{580, 576, 585}));
}

TEST_P(RatingsTest, heads_that_write_most_into_a_patch_weigh_most) {
  Context context = test_context(GetParam().device);
  constexpr std::int64_t kHeads = 6, kPatches = 333;
  Random random(14);
  std::vector<float> rows(kHeads * kPatches), norms(kHeads * kPatches), expected;
  for (float& value : rows) value = random.uniform(0, 1);
  for (float& value : norms) value = random.uniform(0, 3);
  for (std::size_t i = 0; i < kPatches; ++i) {
    double total = 1e-8, weighted = 0;
    for (std::size_t h = 0; h < kHeads; ++h) {
      total += norms[h * kPatches + i];
      weighted += static_cast<double>(norms[h * kPatches + i]) * rows[h * kPatches + i];
    }
    expected.push_back(static_cast<float>(weighted / total));
  }
  Scores rows_there(context, rows), norms_there(context, norms),
      scores(context, std::vector<float>(kPatches, -1.0f));
  ASSERT_TRUE(scores_by_head_norms(context, rows_there.matrix(kHeads), norms_there.matrix(kHeads),
                                   scores.view()));
  EXPECT_EQ(scores.fetch(), expected);

  Scores state(context, norms), fresh(context, rows);
  ASSERT_TRUE(blend_scores(context, state.view(), .99f, fresh.view(), .01f));
  for (std::size_t i = 0; i < norms.size(); ++i) {
    volatile float old = .99f * norms[i], added = .01f * rows[i];
    norms[i] = old + added;
  }
  EXPECT_EQ(state.fetch(), norms);
}

INSTANTIATE_TEST_SUITE_P(Devices, RatingsTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         case_name);

}  // namespace
}  // namespace fovea::testing
