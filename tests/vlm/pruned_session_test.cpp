// Pruned questions in a session: resumed ones choose as fresh ones do, and traces say what was left
// out of which attention.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "pruning/method.h"
#include "support/model_device.h"
#include "vlm/session.h"

namespace fovea {
namespace {

std::unique_ptr<Session> session(const MethodRequest& request) {
  const std::string folder = std::string(FOVEA_SOURCE_DIR) + "/tests/golden/llava/gqa-saved-f32";
  auto model = LlavaModel::load(
      folder, {.threads = 2, .device = testing::model_device(), .dtype = DTypeChoice::f32});
  EXPECT_TRUE(model) << model.error().to_string();
  auto policy = make_policy(request);
  EXPECT_TRUE(policy) << policy.error().to_string();
  SessionOptions options;
  options.threads = 2;
  options.chat_template = "llava-1.5";
  options.policy = *policy;
  auto created = Session::create(*model, options);
  EXPECT_TRUE(created) << created.error().to_string();
  return std::move(*created);
}

Question question(const std::string& text) {
  Image image = Image::filled(90, 70, 10, 120, 40);
  for (int i = 0; i < 70; ++i) image.pixel(i, i)[2] = static_cast<std::uint8_t>(3 * i);
  Question q;
  q.text = text;
  q.images.push_back(std::make_shared<const Image>(std::move(image)));
  q.sampling.max_new_tokens = 4;
  q.keep_logits = true;
  return q;
}

class ResumedQuestion : public ::testing::TestWithParam<const char*> {};

TEST_P(ResumedQuestion, keeps_and_answers_as_a_fresh_one) {
  MethodRequest request{.name = GetParam(),
                        .schedule = {.layers = {1, 2}, .keep = {{9, false}, {4, false}}}};
  auto warm = session(request);
  ASSERT_TRUE(warm->ask(question("what is this")));
  const auto resumed = warm->ask(question("where is it"));
  const auto fresh = session(request)->ask(question("where is it"));
  ASSERT_TRUE(resumed && fresh);
  EXPECT_GT(resumed->prefix_reused, 16) << "the picture comes from the snapshot";
  EXPECT_EQ(fresh->prefix_reused, 0);
  EXPECT_EQ(resumed->token_ids, fresh->token_ids);
  ASSERT_EQ(resumed->pruning.stages.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(resumed->pruning.stages[i].kept, fresh->pruning.stages[i].kept);
    EXPECT_EQ(resumed->pruning.stages[i].sources, fresh->pruning.stages[i].sources);
  }
}

// Each reads something else of the prefix: its keys, its hidden states, its embeddings.
INSTANTIATE_TEST_SUITE_P(Methods, ResumedQuestion,
                         ::testing::Values("adaptinfer", "pyramiddrop", "sparsevlm", "fitprune"));

TEST(BypassTrace, cells_that_skipped_an_attention_are_missing_from_its_map_only) {
  auto asked = session({.name = "zipvl", .options = {{"tau", "0.6"}}});
  Question q = question("what is this");
  q.trace = true;
  const auto answer = asked->ask(q);
  ASSERT_TRUE(answer) << answer.error().to_string();
  ASSERT_GE(answer->trace->tokens(), 2);
  ASSERT_EQ(static_cast<int>(answer->pruning.stages.size()), answer->trace->layers());
  Context context;
  std::size_t missing = 0;
  for (int layer = 0; layer < answer->trace->layers(); ++layer) {
    const StageRecord& stage = answer->pruning.stages[static_cast<std::size_t>(layer)];
    EXPECT_TRUE(stage.bypass);
    const auto prompt_row = answer->trace->visual_map(context, layer, 0);
    const auto answer_row = answer->trace->visual_map(context, layer, 1);
    ASSERT_TRUE(prompt_row && answer_row);
    const std::size_t cells = prompt_row->size() / static_cast<std::size_t>(answer->trace->heads());
    for (std::size_t i = 0; i < prompt_row->size(); ++i) {
      const auto id = static_cast<std::int32_t>(i % cells);
      const bool took_part = std::binary_search(stage.kept.begin(), stage.kept.end(), id);
      EXPECT_EQ(std::isnan((*prompt_row)[i]), !took_part) << "layer " << layer << ", token " << id;
      EXPECT_FALSE(std::isnan((*answer_row)[i])) << "answer tokens see every key";
    }
    missing += cells - stage.kept.size();
  }
  EXPECT_GT(missing, 0u);
}

}  // namespace
}  // namespace fovea
