// What a model's own run says about its answer: the arithmetic by hand, the second pass beside a
// reference in double.

#include "vlm/introspection.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kernels/ops/topk/topk.h"
#include "support/random_prompt.h"

namespace fovea {
namespace {

using testing::LoadedModel;
using testing::random_prompt;
using testing::RandomPrompt;

TEST(ExitScore, confidence_is_a_geometric_mean_and_consistency_a_plain_product) {
  const double confidence = answer_confidence(std::array{.9, .8});
  const double consistency = answer_consistency(std::array{.7, .6});
  EXPECT_NEAR(confidence, .848528, 1e-6);
  EXPECT_NEAR(consistency, .42, 1e-12);
  EXPECT_NEAR(exit_score(confidence, consistency), .634264, 1e-6);
}

TEST(ExitScore, a_longer_answer_is_less_consistent_and_as_sure) {
  const std::vector<double> two(2, .9), four(4, .9);
  EXPECT_NEAR(answer_confidence(four), answer_confidence(two), 1e-12);
  EXPECT_LT(answer_consistency(four), answer_consistency(two));
  EXPECT_GT(answer_confidence(std::vector<double>(2000, .5)), .49) << "no underflow";
  EXPECT_EQ(answer_confidence({}), 0.0);
}

TEST(ExitScore, probabilities_are_those_of_a_softmax) {
  const std::vector<float> logits{0.0F, std::log(3.0F), -std::numeric_limits<float>::infinity()};
  EXPECT_NEAR(largest_probability(logits), .75, 1e-7);
  EXPECT_NEAR(probability_of(logits, 0), .25, 1e-7);
  EXPECT_EQ(probability_of(logits, 2), 0.0);
  EXPECT_NEAR(largest_probability(std::vector<float>{1000.0F, 1000.0F}), .5, 1e-12);
}

/// A greedy answer and the probability of each of its tokens.
struct Greedy {
  std::vector<std::int32_t> tokens;
  std::vector<double> probabilities;
};

Greedy answer_greedily(const LlavaModel& model, const RandomPrompt& prompt, int steps) {
  auto run = testing::prefill(model, prompt, nullptr, PositionMode::original);
  Greedy greedy;
  for (int step = 0; step < steps; ++step) {
    greedy.tokens.push_back(static_cast<std::int32_t>(
        std::max_element(run.logits.begin(), run.logits.end()) - run.logits.begin()));
    greedy.probabilities.push_back(largest_probability(run.logits));
    if (step + 1 < steps) testing::decode_greedy(model, run);
  }
  return greedy;
}

Reread reread(const LlavaModel& model, const RandomPrompt& prompt, const Greedy& greedy,
              std::vector<float> importance, double ratio) {
  Context context;
  context.threads = 2;
  auto ranking = std::make_shared<const GuideRanking>(
      GuideRanking{std::move(importance), prompt.encoded.layout.visual});
  auto result = reread_answer(context, model, prompt.encoded.layout, prompt.embeddings.view(),
                              greedy.tokens, ranking, ratio);
  EXPECT_TRUE(result) << result.error().to_string();
  return result ? *result : Reread{};
}

std::vector<float> made_up_importance(const RandomPrompt& prompt) {
  std::vector<float> importance;
  for (std::size_t id = 0; id < prompt.encoded.layout.visual.size(); ++id) {
    importance.push_back(static_cast<float>(id * 7 % 16));
  }
  return importance;
}

TEST(Reread, with_every_token_kept_it_gives_the_greedy_probabilities) {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  // 20 tokens need two portions of logits.
  for (const int steps : {1, 2, 20}) {
    const RandomPrompt prompt = random_prompt(*loaded->model, 4, 1, 6);
    const Greedy greedy = answer_greedily(*loaded->model, prompt, steps);
    const Reread again = reread(*loaded->model, prompt, greedy, made_up_importance(prompt), 1.0);
    ASSERT_EQ(again.probabilities.size(), greedy.probabilities.size());
    for (std::size_t i = 0; i < again.probabilities.size(); ++i) {
      EXPECT_NEAR(again.probabilities[i], greedy.probabilities[i], 2e-6) << i;
    }
    const double product = answer_consistency(greedy.probabilities);
    EXPECT_NEAR(answer_consistency(again.probabilities) / product, 1.0, 1e-4);
  }
}

TEST(Reread, keeps_the_best_tokens_from_layer_0_on_at_their_own_positions) {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  const LlavaModel& model = *loaded->model;
  for (const int pictures : {1, 2}) {
    const RandomPrompt prompt = random_prompt(model, 4, pictures, 6);
    const SequenceLayout& layout = prompt.encoded.layout;
    const Greedy greedy = answer_greedily(model, prompt, 3);
    const std::vector<float> importance = made_up_importance(prompt);
    const double ratio = 0.2;  // int(0.2 x 16) = 3, of 32: 6
    const Reread again = reread(model, prompt, greedy, importance, ratio);

    const auto kept = top_k_ascending(
        importance, static_cast<std::int64_t>(ratio * static_cast<double>(importance.size())));
    std::vector<int> rows;
    for (std::int64_t row = 0; row < layout.tokens(); ++row) {
      const std::int32_t id = layout.visual_ids[static_cast<std::size_t>(row)];
      if (id < 0 || std::binary_search(kept.begin(), kept.end(), id)) {
        rows.push_back(static_cast<int>(row));
      }
    }
    auto hidden = testing::rows_of(prompt.embeddings);
    Context context;
    for (std::size_t step = 0; step < greedy.tokens.size(); ++step) {
      const std::vector<testing::ReferenceDecoder::LayerRows> layers(
          static_cast<std::size_t>(model.config().decoder.layers), {rows, rows});
      const auto logits = loaded->reference->last_logits(hidden, layers);
      double sum = 0;
      for (const double logit : logits) sum += std::exp(logit);
      EXPECT_NEAR(again.probabilities[step],
                  std::exp(logits[static_cast<std::size_t>(greedy.tokens[step])]) / sum, 2e-6)
          << pictures << " pictures, token " << step;
      std::vector<float> row(static_cast<std::size_t>(model.config().decoder.hidden_size));
      ASSERT_TRUE(
          model.decoder().embed(context, std::array{greedy.tokens[step]}, testing::row_view(row)));
      rows.push_back(static_cast<int>(hidden.size()));
      hidden.emplace_back(row.begin(), row.end());
    }
  }
}

TEST(Reread, a_ratio_too_small_for_one_token_keeps_none) {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  const RandomPrompt prompt = random_prompt(*loaded->model, 4, 1, 6);
  const Greedy greedy = answer_greedily(*loaded->model, prompt, 2);
  const Reread none = reread(*loaded->model, prompt, greedy, made_up_importance(prompt), 0.05);
  const Reread all = reread(*loaded->model, prompt, greedy, made_up_importance(prompt), 1.0);
  EXPECT_EQ(none.probabilities.size(), 2U);
  EXPECT_LT(none.flops, all.flops);
}

TEST(Reread, can_be_cancelled) {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  ASSERT_NE(loaded, nullptr);
  const RandomPrompt prompt = random_prompt(*loaded->model, 4, 1, 6);
  const std::atomic<bool> cancel{true};
  Context context;
  context.cancel = &cancel;
  const auto result = reread_answer(context, *loaded->model, prompt.encoded.layout,
                                    prompt.embeddings.view(), std::array<std::int32_t, 1>{5},
                                    std::make_shared<const GuideRanking>(GuideRanking{
                                        made_up_importance(prompt), prompt.encoded.layout.visual}),
                                    0.5);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::cancelled);
}

}  // namespace
}  // namespace fovea
