#include "vision/attention_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "vision/attention_rollout.h"
#include "vision/vit_towers.h"

namespace fovea {
namespace {

using namespace testing;  // NOLINT: the towers' vocabulary

using Rows = std::vector<std::vector<float>>;

double nmi_of(const Rows& rows) {
  AttentionNmi nmi(static_cast<std::int64_t>(rows.front().size()));
  for (const auto& row : rows) nmi.add_row(row);
  return nmi.value();
}

// ---- Hand cases --------------------------------------------------------------------------------

TEST(AttentionNmi, hand_cases) {
  EXPECT_NEAR(nmi_of({{.5F, .5F}, {.5F, .5F}}), 0.0, 1e-12);
  EXPECT_NEAR(nmi_of({{.9F, .1F}, {.1F, .9F}}), .531004, 1e-6);
  EXPECT_NEAR(nmi_of({{.7F, .2F, .1F}, {.1F, .8F, .1F}, {.2F, .2F, .6F}}), .263901, 1e-6);
  EXPECT_NEAR(nmi_of({{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}), 1.0, 1e-12);
}

TEST(AttentionNmi, all_queries_on_one_key_and_single_queries_give_zero) {
  EXPECT_EQ(nmi_of({{0, 1, 0}, {0, 1, 0}, {0, 1, 0}}), 0.0);
  EXPECT_EQ(nmi_of({{.5F, .5F}}), 0.0);
}

TEST(AttentionNmi, stable_form_equals_the_direct_form) {
  Random random(5);
  Rows rows(7, std::vector<float>(7));
  for (auto& row : rows) {
    float total = 0;
    for (float& p : row) total += p = random.uniform(0.01F, 1.0F);
    for (float& p : row) p /= total;
  }
  double information = 0, key_entropy = 0;
  for (std::size_t k = 0; k < 7; ++k) {
    double mean = 0;
    for (const auto& row : rows) mean += row[k] / 7.0;
    for (const auto& row : rows) information += row[k] * std::log(row[k] / mean) / 7.0;
    key_entropy -= mean * std::log(mean);
  }
  EXPECT_NEAR(nmi_of(rows), information / std::sqrt(std::log(7.0) * key_entropy), 1e-6);
}

TEST(AttentionReach, labels_follow_the_thresholds) {
  EXPECT_EQ(reach_of(.13), AttentionReach::local);
  EXPECT_EQ(reach_of(.12), AttentionReach::hybrid);
  EXPECT_EQ(reach_of(.06), AttentionReach::hybrid);
  EXPECT_EQ(reach_of(.05), AttentionReach::global);
  EXPECT_EQ(reach_of(.05, {.local_above = .04, .global_below = .01}), AttentionReach::local);
  EXPECT_STREQ(reach_name(AttentionReach::hybrid), "hybrid");
}

// ---- Streaming against whole matrices ----------------------------------------------------------

/// 82 tokens: more than one tile of rows.
VitConfig wide_config() {
  VitConfig config = small_config();
  config.image_size = 36;
  return config;
}

class DenseTower : public ::testing::Test {
 protected:
  DenseTower()
      : config_(wide_config()),
        checkpoint_(random_checkpoint(config_, 70)),
        loaded_(load(checkpoint_, config_, LinearDType::f32, 3)) {
    EXPECT_TRUE(loaded_->encoder);
    pictures_ = {random_pixels(config_, 71), random_pixels(config_, 72)};
    for (const auto& picture : pictures_) {
      Doubles x = reference_embeddings(config_, checkpoint_, picture);
      std::vector<DenseAttention> blocks;
      for (int layer = 0; layer < 3; ++layer) {
        blocks.push_back(reference_block(config_, checkpoint_, layer, x));
      }
      dense_.push_back(std::move(blocks));
    }
  }
  void watch(const VitObserver& observer) {
    VitHooks hooks;
    hooks.observer = observer;
    const BatchRun run = run_batch(*loaded_->encoder, pictures_, hooks);
    EXPECT_FALSE(run.error) << run.error->to_string();
  }
  VitConfig config_;
  Checkpoint checkpoint_;
  std::unique_ptr<Loaded> loaded_;
  std::vector<std::vector<float>> pictures_;
  std::vector<std::vector<DenseAttention>> dense_;  // [picture][layer]
};

TEST_F(DenseTower, streamed_statistics_equal_dense_ones) {
  for (const std::int64_t special : {0, 1}) {
    watch([&](Context& context, const VitBlockView& block) -> Status {
      for (std::size_t p = 0; p < pictures_.size(); ++p) {
        const auto found =
            attention_statistics(context, block, static_cast<std::int64_t>(p), special);
        if (!found) return found.error();
        const DenseAttention& dense = dense_[p][index_of(block.layer)];
        const std::size_t n = dense.tokens, skip = index_of(special), counted = n - skip;
        for (std::size_t h = 0; h < 5; ++h) {
          Doubles received(n, 0.0), entropy(n, 0.0);
          for (std::size_t r = skip; r < n; ++r) {
            const double* row = &dense.p[(h * n + r) * n];
            double total = 0;
            for (std::size_t k = skip; k < n; ++k) total += row[k];
            for (std::size_t k = skip; k < n; ++k) {
              const double q = row[k] / total;
              received[k] += q / static_cast<double>(counted);
              entropy[r] -= q * std::log(q);
            }
          }
          double key_entropy = 0, mean_entropy = 0;
          for (std::size_t k = skip; k < n; ++k) {
            key_entropy -= received[k] * std::log(received[k]);
            mean_entropy += entropy[k] / static_cast<double>(counted);
          }
          const double nmi = (key_entropy - mean_entropy) /
                             std::sqrt(std::log(static_cast<double>(counted)) * key_entropy);
          EXPECT_NEAR(found->nmi[h], nmi, 1e-5);
          const auto part = [&](const std::vector<float>& values) {
            return std::span(values).subspan(h * n, n);
          };
          EXPECT_TRUE(close_to(part(found->received), received, 1e-5));
          EXPECT_TRUE(close_to(part(found->entropy), entropy, 1e-5));
          const double* class_row = &dense.p[h * n * n];
          EXPECT_TRUE(close_to(part(found->class_row), std::span(class_row, n), 1e-5));
        }
      }
      return {};
    });
  }
}

TEST_F(DenseTower, leaving_out_every_token_is_a_usage_error) {
  watch([&](Context& context, const VitBlockView& block) -> Status {
    const auto found = attention_statistics(context, block, 0, 82);
    EXPECT_FALSE(found);
    return {};
  });
}

// ---- Rollout -----------------------------------------------------------------------------------

/// The class token's row of the product, the plain way.
Doubles dense_rollout(const std::vector<DenseAttention>& blocks, std::size_t heads,
                      const RolloutOptions& options) {
  const std::size_t n = blocks.front().tokens;
  Doubles product(n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i) product[i * n + i] = 1;
  for (const DenseAttention& block : blocks) {
    Doubles fused(n * n);
    for (std::size_t i = 0; i < n * n; ++i) {
      double value = block.p[i];
      for (std::size_t h = 1; h < heads; ++h) {
        const double other = block.p[h * n * n + i];
        if (options.fusion == HeadFusion::mean) value += other;
        if (options.fusion == HeadFusion::max) value = std::max(value, other);
        if (options.fusion == HeadFusion::min) value = std::min(value, other);
      }
      fused[i] = options.fusion == HeadFusion::mean ? value / static_cast<double>(heads) : value;
    }
    std::vector<std::size_t> order(n * n);
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::stable_sort(order, [&](auto a, auto b) { return fused[a] < fused[b]; });
    const auto discarded = static_cast<std::size_t>(options.discard * static_cast<double>(n * n));
    for (std::size_t i = 0; i < discarded; ++i) {
      if (order[i] != 0) fused[order[i]] = 0;
    }
    Doubles next(n * n, 0.0);
    for (std::size_t r = 0; r < n; ++r) {
      double total = 1;
      fused[r * n + r] += 1;
      for (std::size_t k = 0; k < n; ++k) total += fused[r * n + k];
      total -= 1;
      for (std::size_t k = 0; k < n; ++k) {
        const double share = fused[r * n + k] / total;
        for (std::size_t c = 0; c < n; ++c) next[r * n + c] += share * product[k * n + c];
      }
    }
    product = std::move(next);
  }
  return {product.begin(), product.begin() + static_cast<std::ptrdiff_t>(n)};
}

TEST_F(DenseTower, rollout_without_matrices_equals_the_product_of_matrices) {
  std::vector<AttentionTrace> traces(pictures_.size());
  watch([&](Context&, const VitBlockView& block) -> Status {
    for (std::size_t p = 0; p < traces.size(); ++p) {
      FOVEA_CHECK(traces[p].record(block, static_cast<std::int64_t>(p)));
    }
    return {};
  });
  Context context = cpu_context(2);
  for (const HeadFusion fusion : {HeadFusion::mean, HeadFusion::max, HeadFusion::min}) {
    for (const double discard : {0.0, .37, .9}) {
      for (std::size_t p = 0; p < traces.size(); ++p) {
        const RolloutOptions options{.fusion = fusion, .discard = discard};
        const auto found = attention_rollout(context, traces[p], options);
        ASSERT_TRUE(found) << found.error().to_string();
        EXPECT_TRUE(close_to(*found, dense_rollout(dense_[p], 5, options), 1e-5))
            << head_fusion_name(fusion) << " " << discard;
        double total = 0;
        for (const float value : *found) total += value;
        EXPECT_NEAR(total, 1.0, 1e-5);
      }
    }
  }
}

TEST(AttentionRollout, traces_grow_with_the_tokens_not_their_square) {
  std::vector<double> bytes;
  for (const std::int64_t side : {20, 40}) {
    VitConfig config = small_config();
    config.image_size = side;
    Context context = cpu_context(1);
    const auto encoder = VitEncoder::random(context, config, LinearDType::f32, 3, 1);
    ASSERT_TRUE(encoder);
    AttentionTrace trace;
    VitHooks hooks;
    hooks.observer = [&](Context&, const VitBlockView& block) { return trace.record(block, 0); };
    EXPECT_FALSE(run_batch(*encoder, {random_pixels(config, 1)}, hooks).error);
    bytes.push_back(static_cast<double>(trace.bytes()) / static_cast<double>(config.tokens()));
    const std::size_t before = context.workspace.reserved_bytes();
    ASSERT_TRUE(attention_rollout(context, trace));
    // 64 rows of five heads at a time, and the operation's own scratch.
    EXPECT_LE(context.workspace.reserved_bytes() - before,
              static_cast<std::size_t>(64 * 5 * config.tokens()) * 4 + (std::size_t{4} << 20));
  }
  EXPECT_NEAR(bytes[0], bytes[1], bytes[0] * .01);
}

TEST(AttentionRollout, nonsense_is_a_usage_error) {
  Context context;
  AttentionTrace trace;
  EXPECT_EQ(attention_rollout(context, trace).error().code, ErrorCode::usage);
  EXPECT_FALSE(find_head_fusion("sum"));
  EXPECT_EQ(find_head_fusion("max"), HeadFusion::max);
}

}  // namespace
}  // namespace fovea
