// Decoding that runs ahead of the host gives what choosing from each step's logits gives.

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/ops/topk/topk.h"
#include "support/small_decoder.h"
#include "support/twins.h"
#include "vlm/decode_stream.h"

namespace fovea {
namespace {

using testing::DeviceCase;
using testing::DeviceTest;
using testing::simple_layout;
using testing::SmallDecoder;
using testing::test_context;

class DecodeStreamTest : public DeviceTest<DeviceCase> {
 protected:
  void SetUp() override {
    DeviceTest<DeviceCase>::SetUp();
    if (IsSkipped()) return;
    model_.emplace(3, Device{GetParam().device, 0});
    context_ = test_context(GetParam().device);
  }

  SmallDecoder::Run prompt() const {
    auto run = model_->prefill(layout_, model_->random_embeddings(layout_, 3), {});
    EXPECT_TRUE(run);
    return std::move(*run);
  }
  /// The tokens of a greedy answer, from logits, and the run after each of them was fed but the
  /// last.
  std::vector<std::int32_t> from_logits(SmallDecoder::Run& run, int count) const {
    std::vector<std::int32_t> tokens{arg_max(run.logits)};
    while (static_cast<int>(tokens.size()) < count) {
      model_->decode(run, tokens.back());
      tokens.push_back(arg_max(run.logits));
    }
    return tokens;
  }
  /// What a state has forgotten nothing of and added nothing to: the next token's logits say it.
  void expect_same(SmallDecoder::Run& run, SmallDecoder::Run& expected) const {
    EXPECT_EQ(run.state.next_position, expected.state.next_position);
    for (int layer = 0; layer < model_->layers(); ++layer) {
      EXPECT_EQ(run.state.cache.length(layer), expected.state.cache.length(layer));
    }
    model_->decode(run, 11);
    model_->decode(expected, 11);
    EXPECT_EQ(run.logits, expected.logits);
  }

  std::optional<SmallDecoder> model_;
  SequenceLayout layout_ = simple_layout(3, 16, 5, 4);
  Context context_;
};

TEST_P(DecodeStreamTest, an_answer_is_what_the_largest_of_its_logits_say) {
  constexpr int kTokens = 150;  // over the ends of pages
  SmallDecoder::Run asked = prompt(), streamed = prompt();
  const std::vector<std::int32_t> expected = from_logits(asked, kTokens);
  {
    DecodeStream stream(model_->decoder(), context_, streamed.state);
    std::int32_t token = expected[0];
    for (int step = 1; step < kTokens; ++step) {
      const auto found = stream.next(token, kTokens - step - 1);
      ASSERT_TRUE(found) << found.error().to_string();
      token = *found;
      ASSERT_EQ(token, expected[static_cast<std::size_t>(step)]) << step;
    }
  }
  expect_same(streamed, asked);
}

// Every length of answer, and the end of a page among them: what the device did ahead is undone.
TEST_P(DecodeStreamTest, an_end_that_came_unforeseen_leaves_no_trace) {
  for (int taken = 1; taken < 46; ++taken) {
    SmallDecoder::Run asked = prompt(), streamed = prompt();
    const std::vector<std::int32_t> expected = from_logits(asked, taken + 1);
    const KvCache before = streamed.state.cache;
    {
      DecodeStream stream(model_->decoder(), context_, streamed.state);
      for (int step = 0; step < taken; ++step) {
        const auto found = stream.next(expected[static_cast<std::size_t>(step)], 100);
        ASSERT_TRUE(found && *found == expected[static_cast<std::size_t>(step) + 1]) << step;
      }
    }
    EXPECT_EQ(before.length(0), layout_.tokens()) << "a snapshot stays as it was";
    expect_same(streamed, asked);
  }
}

TEST_P(DecodeStreamTest, another_token_than_the_one_chosen_may_go_on) {
  SmallDecoder::Run asked = prompt(), streamed = prompt();
  DecodeStream stream(model_->decoder(), context_, streamed.state, 100);
  for (std::int32_t token = 0; token < 20; ++token) {
    model_->decode(asked, token);
    const auto found = stream.next(token, 100);
    ASSERT_TRUE(found) << found.error().to_string();
    EXPECT_EQ(*found, arg_max(asked.logits)) << token;
  }
}

TEST_P(DecodeStreamTest, two_answers_in_turn_keep_apart) {
  SmallDecoder::Run asked = prompt(), first = prompt(), second = prompt();
  const std::vector<std::int32_t> expected = from_logits(asked, 20);
  DecodeStream one(model_->decoder(), context_, first.state, 100);
  DecodeStream other(model_->decoder(), context_, second.state, 100);
  for (std::size_t step = 0; step + 1 < expected.size(); ++step) {
    for (DecodeStream* stream : {&one, &other}) {
      const auto found = stream->next(expected[step], 100);
      ASSERT_TRUE(found) << found.error().to_string();
      EXPECT_EQ(*found, expected[step + 1]) << step;
    }
  }
}

TEST_P(DecodeStreamTest, a_wrong_token_and_a_wish_to_stop_change_nothing) {
  SmallDecoder::Run asked = prompt(), streamed = prompt();
  const std::vector<std::int32_t> expected = from_logits(asked, 8);
  {
    DecodeStream stream(model_->decoder(), context_, streamed.state, 100);
    for (std::size_t step = 0; step + 1 < expected.size(); ++step) {
      ASSERT_TRUE(stream.next(expected[step], 100));
    }
    const auto wrong = stream.next(50, 100);
    ASSERT_FALSE(wrong) << "no such token";
    EXPECT_EQ(wrong.error().code, ErrorCode::usage);
    const std::atomic<bool> stop{true};
    context_.cancel = &stop;
    const auto stopped = stream.next(3, 100);
    context_.cancel = nullptr;
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
  }
  expect_same(streamed, asked);
}

TEST_P(DecodeStreamTest, drawn_tokens_are_what_the_seed_and_the_logits_say) {
  for (const double top_p : {1.0, 0.8}) {
    const SamplingOptions options{.temperature = 1.5, .top_p = top_p, .seed = 5};
    Result<Sampler> expected = Sampler::create(options), sampler = Sampler::create(options);
    ASSERT_TRUE(expected && sampler);
    SmallDecoder::Run asked = prompt(), streamed = prompt();
    DecodeStream stream(model_->decoder(), context_, streamed.state, 100, &*sampler);
    std::int32_t token = 1;
    for (int step = 0; step < 60; ++step) {
      // Now and then another token goes on than the one that was drawn.
      if (step % 7 == 6) token = step % 40;
      model_->decode(asked, token);
      const auto drawn = expected->sample(asked.logits);
      const auto found = stream.next(token, 100);
      ASSERT_TRUE(drawn && found);
      token = *found;
      ASSERT_EQ(token, *drawn) << "step " << step << ", top-p " << top_p;
    }
  }
}

TEST_P(DecodeStreamTest, drawn_and_greedy_answers_in_turn_keep_apart) {
  Result<Sampler> expected = Sampler::create({.temperature = 1, .seed = 3}), sampler = *expected;
  SmallDecoder::Run asked = prompt(), first = prompt(), second = prompt();
  DecodeStream greedy(model_->decoder(), context_, first.state, 100);
  DecodeStream drawing(model_->decoder(), context_, second.state, 100, &*sampler);
  for (std::int32_t token = 0; token < 20; ++token) {
    model_->decode(asked, token);
    const auto largest = greedy.next(token, 100), drawn = drawing.next(token, 100);
    ASSERT_TRUE(largest && drawn);
    EXPECT_EQ(*largest, arg_max(asked.logits)) << token;
    EXPECT_EQ(*drawn, *expected->sample(asked.logits)) << token;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, DecodeStreamTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         testing::case_name);

}  // namespace
}  // namespace fovea
