// Prompts read side by side, and sequences that answer side by side, come to what each comes to
// alone.

#include "vlm/decoder_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/ops/topk/topk.h"
#include "pruning/method.h"
#include "support/small_decoder.h"
#include "support/twins.h"
#include "vlm/sampler.h"

namespace fovea {
namespace {

using testing::DeviceCase;
using testing::DeviceTest;
using testing::simple_layout;
using testing::SmallDecoder;
using testing::test_context;
using testing::two_picture_layout;

class DecoderBatchTest : public DeviceTest<DeviceCase> {};

struct Prompt {
  SequenceLayout layout;
  std::shared_ptr<Policy> policy;  // null: none
};

std::shared_ptr<Policy> method(const std::string& name, std::vector<int> layers,
                               std::vector<std::int64_t> keep, std::uint64_t seed = 0) {
  MethodRequest request{.name = name, .schedule = {.layers = std::move(layers)}, .seed = seed};
  for (const std::int64_t count : keep) {
    request.schedule.keep.push_back({static_cast<double>(count), false});
  }
  auto policy = make_policy(request);
  EXPECT_TRUE(policy) << policy.error().to_string();
  return policy ? *policy : nullptr;
}

/// Lengths, pictures and methods mixed; each with a policy of its own.
std::vector<Prompt> mixed_prompts() {
  std::vector<Prompt> prompts;
  prompts.push_back({simple_layout(3, 16, 5, 4), nullptr});
  prompts.push_back({simple_layout(3, 16, 9, 4), method("adaptinfer", {0, 1}, {9, 4})});
  prompts.push_back({simple_layout(5, 64, 4, 8), method("fastv", {1, 3}, {21, 7})});
  prompts.push_back({two_picture_layout(4, 3, 6), method("sparsevlm", {0, 2}, {15, 6})});
  prompts.push_back({simple_layout(7, 0, 0, 1), nullptr});
  prompts.push_back({two_picture_layout(2, 0, 2), method("random", {0, 2}, {12, 3}, 5)});
  prompts.push_back({simple_layout(3, 64, 5, 8), method("fitprune", {0, 1, 3}, {40, 20, 9})});
  prompts.push_back({simple_layout(3, 16, 3, 4), method("pyramiddrop", {1, 2}, {9, 4})});
  prompts.push_back({simple_layout(3, 64, 7, 8), method("himap", {1, 3}, {30, 8})});
  prompts.push_back({simple_layout(2, 16, 4, 4), method("divprune", {0}, {5})});
  return prompts;
}

double relative_error(std::span<const float> a, std::span<const float> b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / norm);
}

/// A batch of prompts as it was read, with room for its logits.
struct Batch {
  std::vector<PruningPlan> plans;
  std::vector<std::vector<float>> embeddings;
  std::vector<DecoderState> states;
  std::vector<PruningRecord> records;
  std::vector<float> logits;
};

std::vector<float> fetched(Context& context, ConstTensorView values) {
  std::vector<float> here(static_cast<std::size_t>(values.shape.elements()));
  EXPECT_TRUE(
      copy(context, values,
           TensorView(reinterpret_cast<std::byte*>(here.data()), DType::f32, values.shape)));
  return here;
}

Status read_batch(Context& context, const SmallDecoder& model, const std::vector<Prompt>& prompts,
                  Batch& batch) {
  const std::size_t count = prompts.size();
  batch.plans.resize(count);
  batch.records.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    batch.embeddings.push_back(model.random_embeddings(prompts[i].layout, i + 1));
    batch.states.push_back(model.decoder().new_state());
  }
  std::vector<BatchPrompt> given(count);
  for (std::size_t i = 0; i < count; ++i) {
    const Prompt& prompt = prompts[i];
    if (prompt.policy != nullptr) {
      FOVEA_TRY(batch.plans[i], prompt.policy->plan(prompt.layout, model.shape()));
    }
    PrefillInput& input = given[i].input;
    input.embeddings =
        ConstTensorView(reinterpret_cast<const std::byte*>(batch.embeddings[i].data()), DType::f32,
                        Shape{prompt.layout.tokens(), model.decoder().config().hidden_size});
    input.layout = &prompt.layout;
    input.policy = prompt.policy.get();
    input.plan = &batch.plans[i];
    given[i].state = &batch.states[i];
    given[i].record = &batch.records[i];
  }
  FOVEA_TRY(Tensor logits, Tensor::allocate({static_cast<std::int64_t>(count),
                                             model.decoder().config().vocab_size},
                                            DType::f32, context.device));
  FOVEA_CHECK(model.decoder().prefill_batch(context, given, logits.view()));
  batch.logits = fetched(context, std::as_const(logits).view());
  return {};
}

std::span<const float> row_of(const std::vector<float>& logits, std::size_t row) {
  constexpr std::size_t kVocabulary = 50;
  return std::span(logits).subspan(row * kVocabulary, kVocabulary);
}

TEST_P(DecoderBatchTest, prompts_side_by_side_come_to_what_each_comes_to_alone) {
  const SmallDecoder model(5, {GetParam().device, 0});
  Context context = test_context(GetParam().device);
  const std::vector<Prompt> prompts = mixed_prompts();
  Batch batch;
  const Status read = read_batch(context, model, prompts, batch);
  ASSERT_TRUE(read) << read.error().to_string();
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    SCOPED_TRACE("prompt " + std::to_string(i));
    SmallDecoder::Options options;
    options.policy = prompts[i].policy.get();
    const auto alone = model.prefill(prompts[i].layout,
                                     model.random_embeddings(prompts[i].layout, i + 1), options);
    ASSERT_TRUE(alone) << alone.error().to_string();
    EXPECT_LT(relative_error(row_of(batch.logits, i), alone->logits), 2e-5);
    EXPECT_EQ(batch.states[i].next_position, alone->state.next_position);
    EXPECT_EQ(batch.states[i].survivors, alone->state.survivors);
    EXPECT_EQ(batch.states[i].survivor_list, alone->state.survivor_list);
    for (int layer = 0; layer < model.layers(); ++layer) {
      EXPECT_EQ(batch.states[i].cache.length(layer), alone->state.cache.length(layer));
    }
    ASSERT_EQ(batch.records[i].stages.size(), alone->record.stages.size());
    for (std::size_t s = 0; s < alone->record.stages.size(); ++s) {
      EXPECT_EQ(batch.records[i].stages[s].kept, alone->record.stages[s].kept);
      EXPECT_EQ(batch.records[i].stages[s].sources, alone->record.stages[s].sources);
    }
  }
}

Sampler sampler(const SamplingOptions& options) {
  auto made = Sampler::create(options);
  EXPECT_TRUE(made) << made.error().to_string();
  return std::move(*made);
}

/// Tokens of a prompt alone, the first one being the choice after it: sampled from logits on the
/// host.
std::vector<std::int32_t> alone(Context& context, const SmallDecoder& model, const Prompt& prompt,
                                std::size_t index, std::size_t count,
                                const SamplingOptions& sampling) {
  SmallDecoder::Options options;
  options.policy = prompt.policy.get();
  auto run =
      model.prefill(prompt.layout, model.random_embeddings(prompt.layout, index + 1), options);
  EXPECT_TRUE(run);
  Sampler chooser = sampler(sampling);
  const auto choose = [&] {
    const auto token = chooser.sample(run->logits);
    EXPECT_TRUE(token);
    return token ? *token : 0;
  };
  std::vector<std::int32_t> tokens{choose()};
  auto logits =
      Tensor::allocate({1, model.decoder().config().vocab_size}, DType::f32, context.device);
  EXPECT_TRUE(logits);
  while (tokens.size() < count) {
    const Status decoded =
        model.decoder().decode(context, tokens.back(), run->state, logits->view(), nullptr);
    EXPECT_TRUE(decoded) << decoded.error().to_string();
    run->logits = fetched(context, std::as_const(*logits).view());
    tokens.push_back(choose());
  }
  return tokens;
}

/// `ahead`: steps that are ordered before the choices of the first of them are asked for.
/// `sampling`: of each of the five sequences; empty: all are greedy, and no draws are given.
void answer_side_by_side(const DeviceCase& device, std::size_t ahead,
                         std::vector<SamplingOptions> sampling = {}) {
  constexpr std::size_t kTokens = 90;  // past a page's end in every layer
  const SmallDecoder model(3, {device.device, 0});
  Context context = test_context(device.device);
  std::vector<Prompt> prompts;
  prompts.push_back({simple_layout(3, 16, 5, 4), nullptr});
  prompts.push_back({simple_layout(3, 16, 9, 4), method("adaptinfer", {0, 1}, {9, 4})});
  prompts.push_back({simple_layout(5, 64, 4, 8), method("fastv", {1}, {21})});
  prompts.push_back({simple_layout(1, 64, 0, 8), nullptr});
  prompts.push_back({two_picture_layout(4, 3, 6), method("sparsevlm", {0}, {15})});
  Batch batch;
  ASSERT_TRUE(read_batch(context, model, prompts, batch));
  DecoderBatch answering(context, model.decoder());
  std::vector<std::size_t> who;  // by place
  std::vector<std::vector<std::int32_t>> said(prompts.size());
  const bool draws = !sampling.empty();
  sampling.resize(prompts.size());
  std::vector<Sampler> samplers;
  for (const SamplingOptions& options : sampling) samplers.push_back(sampler(options));
  const auto enter = [&](std::size_t i) {
    const auto first = samplers[i].sample(row_of(batch.logits, i));
    ASSERT_TRUE(first);
    said[i].push_back(*first);
    ASSERT_TRUE(answering.enter(batch.states[i], said[i].back(), kTokens - 1));
    who.push_back(i);
  };
  for (std::size_t i = 0; i + 1 < prompts.size(); ++i) enter(i);
  for (std::size_t step = 0; !who.empty(); ++step) {
    while (answering.pending() < ahead) {
      std::vector<Draw> how;
      for (const std::size_t i : who) {
        if (draws) how.push_back(samplers[i].next_draw());
      }
      const Status ordered = answering.step(how);
      ASSERT_TRUE(ordered) << ordered.error().to_string();
    }
    const auto chosen = answering.chosen();
    ASSERT_TRUE(chosen) << chosen.error().to_string();
    ASSERT_EQ(chosen->size(), who.size());
    for (std::size_t p = 0; p < who.size(); ++p) said[who[p]].push_back((*chosen)[p]);
    // One enters late, the second leaves early, the others end by their length.
    const bool changes = step == 20 || step == 33;
    const auto done = std::any_of(who.begin(), who.end(),
                                  [&](std::size_t i) { return said[i].size() >= kTokens; });
    if (!changes && !done) continue;
    while (answering.pending() > 0) {
      const auto late = answering.chosen();
      ASSERT_TRUE(late);
      for (std::size_t p = 0; p < who.size(); ++p) said[who[p]].push_back((*late)[p]);
    }
    if (step == 20) enter(prompts.size() - 1);
    for (std::size_t p = who.size(); p-- > 0;) {
      const bool leaves = (step == 33 && who[p] == 1) || said[who[p]].size() >= kTokens;
      if (!leaves) continue;
      answering.leave(p);
      who.erase(who.begin() + static_cast<std::ptrdiff_t>(p));
    }
  }
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(said[i], alone(context, model, prompts[i], i, said[i].size(), sampling[i]))
        << "sequence " << i;
  }
}

TEST_P(DecoderBatchTest, sequences_that_enter_and_leave_say_what_each_says_alone) {
  answer_side_by_side(GetParam(), 1);
}

TEST_P(DecoderBatchTest, steps_ordered_ahead_of_their_tokens_say_the_same) {
  answer_side_by_side(GetParam(), 2);
}

/// Two draw alike but for their seeds, two by other temperatures and masses; one is greedy.
const std::vector<SamplingOptions> kMixed{{.temperature = 1.5, .seed = 5},
                                          {},
                                          {.temperature = 1.5, .seed = 6},
                                          {.temperature = 0.7, .top_p = 0.8, .seed = 5},
                                          {.temperature = 3, .top_p = 0.5, .seed = 9}};

TEST_P(DecoderBatchTest, drawn_and_greedy_sequences_say_what_each_says_alone) {
  answer_side_by_side(GetParam(), 1, kMixed);
}

TEST_P(DecoderBatchTest, drawing_steps_ordered_ahead_of_their_tokens_say_the_same) {
  answer_side_by_side(GetParam(), 2, kMixed);
  answer_side_by_side(GetParam(), 3, kMixed);
}

TEST_P(DecoderBatchTest, steps_that_draw_and_steps_that_do_not_take_turns) {
  const SmallDecoder model(3, {GetParam().device, 0});
  Context context = test_context(GetParam().device);
  const std::vector<Prompt> prompts{{simple_layout(3, 16, 5, 4), nullptr},
                                    {simple_layout(3, 16, 9, 4), nullptr}};
  Batch batch;
  ASSERT_TRUE(read_batch(context, model, prompts, batch));
  constexpr int kSteps = 12;
  const SamplingOptions options{.temperature = 2, .seed = 3};
  DecoderBatch answering(context, model.decoder());
  for (DecoderState& state : batch.states) ASSERT_TRUE(answering.enter(state, 7, kSteps));
  const std::vector<Draw> too_few(1);
  const Status refused = answering.step(too_few);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::usage);
  std::vector<Sampler> samplers{sampler(options), sampler(options)};
  std::vector<std::vector<std::int32_t>> said(prompts.size());
  for (int step = 0; step < kSteps; ++step) {
    std::vector<Draw> how;
    if (step % 3 != 2) {
      for (Sampler& one : samplers) how.push_back(one.next_draw());
    }
    ASSERT_TRUE(answering.step(how));
    if (step == 0) continue;
    const auto chosen = answering.chosen();  // of the step before
    ASSERT_TRUE(chosen);
    for (std::size_t i = 0; i < said.size(); ++i) said[i].push_back((*chosen)[i]);
  }
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    auto run =
        model.prefill(prompts[i].layout, model.random_embeddings(prompts[i].layout, i + 1), {});
    ASSERT_TRUE(run);
    Sampler one = sampler(options);
    std::int32_t token = 7;
    for (int step = 0; step + 1 < kSteps; ++step) {
      model.decode(*run, token);
      const auto next = step % 3 == 2 ? arg_max(run->logits) : one.sample(run->logits);
      ASSERT_TRUE(next);
      token = *next;
      EXPECT_EQ(said[i][static_cast<std::size_t>(step)], token) << i << " at step " << step;
    }
  }
}

TEST_P(DecoderBatchTest, a_token_that_is_not_the_largest_can_follow) {
  const SmallDecoder model(3, {GetParam().device, 0});
  Context context = test_context(GetParam().device);
  const std::vector<Prompt> prompts{{simple_layout(3, 16, 5, 4), nullptr},
                                    {simple_layout(3, 16, 9, 4), nullptr},
                                    {simple_layout(4, 16, 2, 4), nullptr}};
  Batch batch;
  ASSERT_TRUE(read_batch(context, model, prompts, batch));
  DecoderBatch answering(context, model.decoder());
  for (DecoderState& state : batch.states) ASSERT_TRUE(answering.enter(state, 7, 4));
  ASSERT_TRUE(answering.step());
  ASSERT_TRUE(answering.chosen());
  ASSERT_TRUE(answering.follow(1, 11));
  EXPECT_FALSE(answering.follow(1, 50)) << "no such token";
  ASSERT_TRUE(answering.step());
  const std::vector<float> logits = fetched(context, answering.logits());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    auto run =
        model.prefill(prompts[i].layout, model.random_embeddings(prompts[i].layout, i + 1), {});
    ASSERT_TRUE(run);
    model.decode(*run, 7);
    model.decode(*run, i == 1 ? 11 : arg_max(run->logits));
    EXPECT_LT(relative_error(row_of(logits, i), run->logits), 2e-5) << "sequence " << i;
  }
}

TEST_P(DecoderBatchTest, what_cannot_stand_beside_others_is_refused) {
  const SmallDecoder model(3, {GetParam().device, 0});
  Context context = test_context(GetParam().device);
  auto zipvl = make_policy({.name = "zipvl", .options = {{"tau", "0.8"}}});
  ASSERT_TRUE(zipvl);
  Batch bypassed;
  const Status refused = read_batch(
      context, model, {{simple_layout(3, 16, 5, 4), *zipvl}, {simple_layout(3, 16, 5, 4), nullptr}},
      bypassed);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unsupported);
  const std::atomic<bool> stop{true};
  context.cancel = &stop;
  Batch stopped;
  const Status cancelled = read_batch(
      context, model,
      {{simple_layout(3, 16, 5, 4), nullptr}, {simple_layout(3, 16, 5, 4), nullptr}}, stopped);
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, ErrorCode::cancelled);
}

TEST_P(DecoderBatchTest, a_batch_of_one_has_the_bits_of_a_prompt_alone) {
  const SmallDecoder model(5, {GetParam().device, 0});
  Context context = test_context(GetParam().device);
  const std::vector<Prompt> prompts{
      {simple_layout(3, 64, 9, 8), method("adaptinfer", {0, 1}, {30, 9})}};
  Batch batch;
  ASSERT_TRUE(read_batch(context, model, prompts, batch));
  SmallDecoder::Options options;
  options.policy = prompts[0].policy.get();
  const auto alone =
      model.prefill(prompts[0].layout, model.random_embeddings(prompts[0].layout, 1), options);
  ASSERT_TRUE(alone);
  EXPECT_EQ(batch.logits, alone->logits);
}

INSTANTIATE_TEST_SUITE_P(Devices, DecoderBatchTest,
                         ::testing::Values(DeviceCase{"cpu", DeviceKind::cpu, DType::f32, 0},
                                           DeviceCase{"cuda", DeviceKind::cuda, DType::f32, 0}),
                         testing::case_name);

}  // namespace
}  // namespace fovea
