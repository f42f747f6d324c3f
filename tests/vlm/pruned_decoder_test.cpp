// What the decoder keeps of a pruned prompt: lengths, positions, and nothing changed where nothing
// is dropped.

#include <gtest/gtest.h>

#include "pruning/methods/adaptinfer.h"
#include "pruning/methods/fastv.h"
#include "support/random_prompt.h"

namespace fovea {
namespace {

using testing::decode_greedy;
using testing::LoadedModel;
using testing::prefill;
using testing::Prefilled;
using testing::random_prompt;
using testing::RandomPrompt;

std::shared_ptr<const LlavaModel> load_model() {
  const auto loaded = LoadedModel::load("gqa-saved-f32");
  return loaded ? loaded->model : nullptr;
}

TEST(Pruning, keeping_everything_is_bit_identical_to_no_pruning) {
  const auto model = load_model();
  const RandomPrompt prompt = random_prompt(*model, 4, 1, 6);
  FastV method({.layers = {1}, .keep = {{16, false}}});
  const Prefilled plain = prefill(*model, prompt, nullptr, PositionMode::original);
  const Prefilled kept = prefill(*model, prompt, &method, PositionMode::compact);
  EXPECT_EQ(plain.logits, kept.logits);
  EXPECT_TRUE(kept.record.stages.empty());
}

TEST(Pruning, kv_lengths_follow_what_entered_each_layer) {
  const auto model = load_model();
  const RandomPrompt prompt = random_prompt(*model, 4, 1, 6);
  AdaptInfer method({.layers = {0, 1}, .keep = {{9, false}, {3, false}}},
                    TextWeighting::text_prior);
  const Prefilled run = prefill(*model, prompt, &method, PositionMode::compact);
  EXPECT_EQ(run.state.cache.length(0), 26);  // 10 text and 16 visual tokens
  EXPECT_EQ(run.state.cache.length(1), 19);
  EXPECT_EQ(run.state.cache.length(2), 13);
  EXPECT_EQ(run.state.next_position[0], 26);
  EXPECT_EQ(run.state.next_position[1], 19) << "compact positions go on from the shortened length";
  EXPECT_EQ(run.state.next_position[2], 13);
  ASSERT_EQ(run.record.stages.size(), 2u);
  EXPECT_TRUE(std::is_sorted(run.record.stages[0].kept.begin(), run.record.stages[0].kept.end()));
}

TEST(Pruning, original_positions_go_on_from_the_prompt_length) {
  const auto model = load_model();
  const RandomPrompt prompt = random_prompt(*model, 4, 1, 6);
  FastV method({.layers = {1}, .keep = {{3, false}}});
  const Prefilled run = prefill(*model, prompt, &method, PositionMode::original);
  EXPECT_EQ(run.state.next_position[0], 26);
  EXPECT_EQ(run.state.next_position[2], 26);
}

}  // namespace
}  // namespace fovea
