// DivPrune (arXiv 2503.02175): which tokens are least alike.

#include "pruning/methods/divprune.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "kernels/ops/similarity/similarity.h"
#include "support/fake_stage.h"
#include "support/tensors.h"

namespace fovea {
namespace {

using testing::FakeStage;
using testing::kept;
using testing::Random;
using testing::simple_layout;
using Indices = std::vector<std::int32_t>;
using Rows = std::vector<std::vector<float>>;

constexpr ModelShape kShape{.layers = 12, .heads = 1, .kv_heads = 1, .hidden_size = 8};

Indices choose(const Rows& rows, std::int64_t k) {
  testing::GuardedTensor x({static_cast<std::int64_t>(rows.size()),
                            rows.empty() ? 3 : static_cast<std::int64_t>(rows[0].size())});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy(rows[i].begin(), rows[i].end(), x.view().row<float>(static_cast<std::int64_t>(i)));
  }
  Context context = testing::cpu_context(2);
  const std::int64_t count = std::min(k, x.view().rows());
  Indices chosen(static_cast<std::size_t>(count));
  if (count == 0) return chosen;
  EXPECT_TRUE(normalize_rows(context, x.view(), x.view()));
  const TensorView indices(reinterpret_cast<std::byte*>(chosen.data()), DType::i32, Shape{count});
  const Status status = farthest_rows(context, x.view(), indices);
  EXPECT_TRUE(status) << status.error().to_string();
  return chosen;
}

/// The page's rule word by word, over the whole matrix of distances in double.
Indices reference(const Rows& rows, std::int64_t k) {
  const std::size_t n = rows.size();
  std::vector<std::vector<double>> distance(n, std::vector<double>(n));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double dot = 0, left = 0, right = 0;
      for (std::size_t d = 0; d < rows[i].size(); ++d) {
        dot += static_cast<double>(rows[i][d]) * rows[j][d];
        left += static_cast<double>(rows[i][d]) * rows[i][d];
        right += static_cast<double>(rows[j][d]) * rows[j][d];
      }
      distance[i][j] = i == j ? 0 : 1 - dot / std::sqrt(left * right);
    }
  }
  std::set<std::int32_t> chosen;
  while (static_cast<std::int64_t>(chosen.size()) < k) {
    std::int32_t best = -1;
    double farthest = -1;
    for (std::size_t i = 0; i < n; ++i) {
      if (chosen.count(static_cast<std::int32_t>(i)) > 0) continue;
      double nearest = 4;
      for (std::size_t j = 0; j < n; ++j) {
        const bool counts =
            chosen.empty() ? i != j : chosen.count(static_cast<std::int32_t>(j)) > 0;
        if (counts) nearest = std::min(nearest, distance[i][j]);
      }
      if (nearest > farthest) {
        farthest = nearest;
        best = static_cast<std::int32_t>(i);
      }
    }
    chosen.insert(best);
  }
  return {chosen.begin(), chosen.end()};
}

TEST(DivPrune, three_tight_clusters_give_one_token_each) {
  Rows rows;
  for (int member = 0; member < 4; ++member) {
    for (int cluster = 0; cluster < 3; ++cluster) {
      std::vector<float> row(3, 0.001f * static_cast<float>(member));
      row[static_cast<std::size_t>(cluster)] = 1;
      rows.push_back(row);
    }
  }
  std::set<std::int32_t> clusters;
  for (const std::int32_t index : choose(rows, 3)) clusters.insert(index % 3);
  EXPECT_EQ(clusters.size(), 3u);
}

TEST(DivPrune, begins_with_the_token_whose_nearest_neighbour_is_farthest) {
  EXPECT_EQ(choose({{1, 0, 0}, {1, 0.1f, 0}, {0, 0, 1}, {1, 0.2f, 0}}, 1), (Indices{2}));
}

TEST(DivPrune, length_does_not_matter_and_equal_tokens_lose_by_index) {
  EXPECT_EQ(choose({{1, 0}, {2, 0}, {0, 5}, {0, 1}}, 2), (Indices{0, 2}));
  EXPECT_EQ(choose({{1, 0}, {1, 0}, {1, 0}}, 2), (Indices{0, 1}));
}

TEST(DivPrune, any_number_of_tokens_is_defined) {
  const Rows rows{{1, 0}, {0, 0}, {0, 1}};
  EXPECT_EQ(choose(rows, 0), Indices{});
  EXPECT_EQ(choose(rows, 3), (Indices{0, 1, 2}));
  EXPECT_EQ(choose(rows, 7), (Indices{0, 1, 2}));
  EXPECT_EQ(choose({{1, 1}}, 1), (Indices{0}));
  EXPECT_EQ(choose({}, 2), Indices{});
}

TEST(DivPrune, equals_the_rule_over_the_whole_distance_matrix) {
  Random random(7);
  for (const std::int64_t n : {5, 70, 150}) {
    Rows rows;
    for (std::int64_t i = 0; i < n; ++i) rows.push_back(random.normals(19));
    for (const std::int64_t k : {std::int64_t{1}, n / 3, n - 1}) {
      EXPECT_EQ(choose(rows, k), reference(rows, k)) << k << " of " << n;
    }
  }
}

TEST(DivPrune, plans_one_stage_on_the_embeddings_with_compact_positions) {
  DivPrune method({});
  const auto plan = method.plan(simple_layout(35, 576, 29), kShape);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->stages.size(), 1u);
  EXPECT_EQ(plan->stages[0].when, Hook::embeddings);
  EXPECT_EQ(plan->stages[0].keep, 56);
  EXPECT_EQ(plan->positions, PositionMode::compact);
  EXPECT_EQ(method.plan(simple_layout(35, 1152, 29), kShape)->stages[0].keep, 113)
      << "round(0.098 x 1152)";
}

TEST(DivPrune, takes_a_budget_and_counts_but_no_layer) {
  const SequenceLayout layout = simple_layout(35, 576, 29);
  EXPECT_EQ(DivPrune({.budget = 144}).plan(layout, kShape)->stages[0].keep, 144);
  EXPECT_EQ(DivPrune({.layers = {0}, .keep = {{10, false}}}).plan(layout, kShape)->stages[0].keep,
            10);
  EXPECT_TRUE(
      DivPrune({.layers = {0}, .keep = {{576, false}}}).plan(layout, kShape)->stages.empty());
  const auto later = DivPrune({.layers = {2}, .keep = {{10, false}}}).plan(layout, kShape);
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().field, "--prune-layers");
}

TEST(DivPrune, selects_among_the_tokens_present) {
  FakeStage stage(simple_layout(1, 4, 2));
  stage.visual_states = {{1, 0}, {1, 0.01f}, {0, 1}, {-1, 0}};
  DivPrune method({.layers = {0}, .keep = {{3, false}}});
  ASSERT_TRUE(method.plan(stage.layout(), kShape));
  Context context;
  Selection selection;
  ASSERT_TRUE(method.select(context, 0, stage, selection));
  EXPECT_EQ(kept(selection), (Indices{0, 2, 3}));
}

}  // namespace
}  // namespace fovea
