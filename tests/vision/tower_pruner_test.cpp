// Pruning where a vision tower feeds a language model: a policy's choice against the method's rule
// in double, over attention computed anew.

#include "vision/tower_pruner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "pruning/methods/baselines.h"
#include "pruning/methods/visionzip.h"
#include "support/tensors.h"
#include "vision/adaptive_tower.h"

namespace fovea {
namespace {

using Rows = std::vector<std::int32_t>;

VitConfig config() {
  VitConfig config;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.layers = 3;
  config.heads = 4;
  config.image_size = 28;
  config.patch_size = 4;
  return config;
}

const VitEncoder& tower() {
  static const VitEncoder made = [] {
    Context context = testing::cpu_context(2);
    auto encoder = VitEncoder::random(context, config(), LinearDType::f32, 2, 11);
    EXPECT_TRUE(encoder) << encoder.error().to_string();
    return std::move(*encoder);
  }();
  return made;
}

std::vector<float> picture(std::uint64_t seed) {
  return testing::Random(seed).normals(3 * 28 * 28);
}

ConstTensorView pixels(const std::vector<float>& values) {
  return {reinterpret_cast<const std::byte*>(values.data()), DType::f32, {3, 28, 28}};
}

TowerTokens run(TowerPruner& pruner, const std::vector<float>& values, int threads = 2) {
  Context context = testing::cpu_context(threads);
  auto left = pruner.run(context, tower(), pixels(values));
  EXPECT_TRUE(left) << left.error().to_string();
  return left ? std::move(*left) : TowerTokens{};
}

TowerTokens run_visionzip(double keep, std::int64_t contextual, const std::vector<float>& values) {
  auto policy = std::make_shared<VisionZip>(ScheduleRequest{.keep = {{keep, false}}}, contextual);
  return run(*tower_pruner(policy), values);
}

/// What the tower's last block shows, copied.
struct LastBlock {
  std::int64_t tokens = 0, heads = 0, channels = 0, width = 0;
  std::vector<double> query, key, hidden;
  double scale = 0;
};

LastBlock last_block(const std::vector<float>& values) {
  LastBlock last;
  const auto copy = [](ConstTensorView view, std::vector<double>& to) {
    for (std::int64_t row = 0; row < view.rows(); ++row) {
      to.insert(to.end(), view.row<float>(row), view.row<float>(row) + view.inner_elements());
    }
  };
  Context context = testing::cpu_context(1);
  testing::GuardedTensor out({50, 32});
  const Status ran = tower().forward(context, pixels(values), out.view(),
                                     [&](Context&, const VitBlockView& block) -> Status {
                                       if (block.layer != 1) return {};
                                       last.tokens = block.query.shape[0];
                                       last.heads = block.query.shape[1];
                                       last.channels = block.query.shape[2];
                                       last.width = block.hidden.shape[1];
                                       last.scale = block.scale;
                                       copy(block.query, last.query);
                                       copy(block.key, last.key);
                                       copy(block.hidden, last.hidden);
                                       return {};
                                     });
  EXPECT_TRUE(ran) << ran.error().to_string();
  return last;
}

double head_product(const LastBlock& b, const std::vector<double>& left, std::int64_t i,
                    std::int64_t j, std::int64_t head) {
  double sum = 0;
  for (std::int64_t c = 0; c < b.channels; ++c) {
    sum += left[static_cast<std::size_t>((i * b.heads + head) * b.channels + c)] *
           b.key[static_cast<std::size_t>((j * b.heads + head) * b.channels + c)];
  }
  return sum;
}

/// The class token's row of attention, summed over heads.
std::vector<double> class_attention(const LastBlock& b) {
  std::vector<double> total(static_cast<std::size_t>(b.tokens));
  for (std::int64_t head = 0; head < b.heads; ++head) {
    std::vector<double> row;
    for (std::int64_t j = 0; j < b.tokens; ++j) {
      row.push_back(std::exp(b.scale * head_product(b, b.query, 0, j, head)));
    }
    const double sum = std::accumulate(row.begin(), row.end(), 0.0);
    for (std::size_t j = 0; j < row.size(); ++j) total[j] += row[j] / sum;
  }
  return total;
}

/// Cosine of two tokens' keys, averaged over heads.
double likeness(const LastBlock& b, std::int64_t i, std::int64_t j) {
  double dot = 0, left = 0, right = 0;
  for (std::int64_t c = 0; c < b.channels; ++c) {
    double x = 0, y = 0;
    for (std::int64_t head = 0; head < b.heads; ++head) {
      x += b.key[static_cast<std::size_t>((i * b.heads + head) * b.channels + c)];
      y += b.key[static_cast<std::size_t>((j * b.heads + head) * b.channels + c)];
    }
    dot += x * y;
    left += x * x;
    right += y * y;
  }
  return dot / std::sqrt(left * right);
}

/// The method page, step by step: sources of each survivor.
std::vector<Rows> visionzip_by_the_page(const LastBlock& b, int dominant, int contextual) {
  const std::vector<double> attention = class_attention(b);
  Rows order(static_cast<std::size_t>(b.tokens) - 1);
  std::iota(order.begin(), order.end(), 1);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t i, std::int32_t j) {
    return attention[static_cast<std::size_t>(i)] > attention[static_cast<std::size_t>(j)];
  });
  Rows best(order.begin(), order.begin() + dominant), rest(order.begin() + dominant, order.end());
  std::sort(best.begin(), best.end());
  std::sort(rest.begin(), rest.end());
  std::vector<Rows> survivors{{0}};
  for (const std::int32_t row : best) survivors.push_back({row});
  const std::size_t first = survivors.size();
  const std::size_t stride = rest.size() / static_cast<std::size_t>(contextual);
  for (int t = 0; t < contextual; ++t) {
    survivors.push_back({rest[static_cast<std::size_t>(t) * stride]});
  }
  for (const std::int32_t row : rest) {
    std::size_t nearest = first;
    bool target = false;
    for (std::size_t s = first; s < survivors.size(); ++s) {
      target |= survivors[s][0] == row;
      if (likeness(b, row, survivors[s][0]) > likeness(b, row, survivors[nearest][0])) nearest = s;
    }
    if (!target) survivors[nearest].push_back(row);
  }
  return survivors;
}

TEST(TowerPruner, visionzip_equals_the_page_over_attention_computed_anew) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const std::vector<float> values = picture(seed);
    const LastBlock block = last_block(values);
    const std::vector<Rows> expected = visionzip_by_the_page(block, 9, 4);
    const TowerTokens left = run_visionzip(14, 4, values);
    ASSERT_EQ(left.stages.size(), 1u);
    Rows kept;
    std::vector<Rows> merged_rows;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      Rows sources = expected[i];
      std::sort(sources.begin(), sources.end());
      if (sources.size() == 1) {
        kept.push_back(sources[0]);
      } else {
        EXPECT_EQ(left.merged.at(static_cast<std::int32_t>(i)), sources);
        merged_rows.push_back(sources);
      }
    }
    std::sort(kept.begin(), kept.end());
    EXPECT_EQ(left.stages[0].kept, kept);
    EXPECT_EQ(left.stages[0].sources, merged_rows);
    EXPECT_EQ(left.stages[0].layer, 1);
    EXPECT_TRUE(left.keeps_class_token);
    ASSERT_EQ(left.rows.size(), 14u);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(left.rows[i], expected[i][0]);
      std::vector<double> merged;
      for (std::int64_t d = 0; d < block.width; ++d) {
        const auto state = [&](std::int32_t row) {
          return block.hidden[static_cast<std::size_t>(row * block.width + d)];
        };
        double mean = 0;
        for (std::size_t s = 1; s < expected[i].size(); ++s) mean += state(expected[i][s]);
        if (expected[i].size() > 1) mean /= static_cast<double>(expected[i].size() - 1);
        merged.push_back(state(expected[i][0]) + mean);
      }
      const float* row = left.hidden.view().row<float>(static_cast<std::int64_t>(i));
      EXPECT_TRUE(testing::close_to({row, static_cast<std::size_t>(block.width)}, merged, 1e-5));
    }
  }
}

TEST(TowerPruner, keeping_everything_changes_no_bit_and_is_no_stage) {
  const std::vector<float> values = picture(5);
  const TowerTokens left = run_visionzip(49, 0, values);
  EXPECT_TRUE(left.stages.empty());
  EXPECT_FALSE(left.keeps_class_token);
  testing::GuardedTensor out({50, 32});
  Context context = testing::cpu_context(1);
  ASSERT_TRUE(tower().forward(context, pixels(values), out.view()));
  const float* states = left.hidden.as<float>();
  EXPECT_TRUE(testing::same_bits({states, 50 * 32}, out.values()));
}

TEST(TowerPruner, the_same_pixels_give_the_same_tokens_on_any_number_of_threads) {
  const std::vector<float> values = picture(6);
  auto policy = std::make_shared<VisionZip>(ScheduleRequest{.preset = "128"}, std::nullopt);
  const TowerTokens one = run(*tower_pruner(policy), values, 1);
  const TowerTokens two = run(*tower_pruner(policy), values, 2);
  EXPECT_EQ(one.rows, two.rows);
  const auto count = static_cast<std::size_t>(one.hidden.shape().elements());
  EXPECT_TRUE(testing::same_bits({one.hidden.as<float>(), count}, {two.hidden.as<float>(), count}));
}

VitPruneSettings top_k(double first, double second) {
  VitPruneSettings settings;
  settings.rule = VitKeepRule::top_k;
  settings.cuts = {{.block = 3, .keep_share = first}, {.block = 4, .keep_share = second}};
  return settings;
}

TEST(TowerPruner, patches_that_leave_between_blocks_keep_their_rows) {
  VitConfig deep = config();
  deep.layers = 6;
  Context context = testing::cpu_context(2);
  const auto encoder = VitEncoder::random(context, deep, LinearDType::f32, 5, 12);
  ASSERT_TRUE(encoder);
  const std::vector<float> values = picture(8);
  const auto left =
      adaptive_tower_pruner(top_k(0.5, 0.2), "topk")->run(context, *encoder, pixels(values));
  ASSERT_TRUE(left) << left.error().to_string();
  ASSERT_EQ(left->stages.size(), 2u);
  EXPECT_EQ(left->stages[0].kept.size(), 26u) << "the class token, and round(0.5 x 49) patches";
  EXPECT_EQ(left->stages[1].kept.size(), 11u);
  EXPECT_EQ(left->stages[1].layer, 4);
  EXPECT_EQ(left->stages[1].kept, left->rows);
  EXPECT_EQ(left->rows[0], 0);
  EXPECT_FALSE(left->keeps_class_token);
  EXPECT_TRUE(std::includes(left->stages[0].kept.begin(), left->stages[0].kept.end(),
                            left->rows.begin(), left->rows.end()));
  EXPECT_EQ(left->hidden.shape(), (Shape{11, 32}));
}

TEST(TowerPruner, lots_between_blocks_depend_on_the_picture_and_on_nothing_else) {
  VitConfig deep = config();
  deep.layers = 6;
  Context context = testing::cpu_context(2);
  const auto encoder = VitEncoder::random(context, deep, LinearDType::f32, 5, 12);
  ASSERT_TRUE(encoder);
  VitPruneSettings settings = top_k(0.5, 0.2);
  settings.rule = VitKeepRule::random;
  const auto drawn = [&](std::uint64_t seed) {
    const std::vector<float> values = picture(seed);
    auto left = adaptive_tower_pruner(settings, "random")->run(context, *encoder, pixels(values));
    EXPECT_TRUE(left);
    return left->rows;
  };
  EXPECT_EQ(drawn(1), drawn(1));
  EXPECT_NE(drawn(1), drawn(2));
}

TEST(TowerPruner, a_policy_of_the_decoder_is_refused) {
  const std::vector<float> values = picture(7);
  Context context = testing::cpu_context(1);
  const auto pruner = tower_pruner(std::make_shared<UniformChoice>(ScheduleRequest{}));
  const auto left = pruner->run(context, tower(), pixels(values));
  ASSERT_FALSE(left);
  EXPECT_EQ(left.error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace fovea
