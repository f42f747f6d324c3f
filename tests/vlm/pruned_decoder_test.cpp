// Pruning between layers: what the decoder computes on a kept set equals an independent decoder run
// on the same set, in both position modes, through prefill and decode.

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "pruning/methods/adaptinfer.h"
#include "pruning/methods/fastv.h"
#include "support/reference_decoder.h"
#include "vlm/prompt.h"
#include "vlm/session.h"

namespace fovea {
namespace {

const std::string kModel = std::string(FOVEA_SOURCE_DIR) + "/tests/golden/llava/gqa-saved-f32";

std::shared_ptr<const LlavaModel> load_model() {
  auto model = LlavaModel::load(kModel, {.threads = 2, .dtype = DTypeChoice::f32});
  EXPECT_TRUE(model) << model.error().to_string();
  return model ? *model : nullptr;
}

/// A prompt of random embeddings over a real layout: `before` text, pictures with text between,
/// `after`.
struct RandomPrompt {
  std::vector<std::int32_t> ids;
  EncodedPrompt encoded;
  Tensor embeddings;
};

RandomPrompt random_prompt(const LlavaModel& model, int before, int pictures, int after) {
  RandomPrompt prompt;
  const LlavaConfig& config = model.config();
  const auto text = [&](int count) {
    for (int i = 0; i < count; ++i)
      prompt.ids.push_back(10 + static_cast<std::int32_t>(prompt.ids.size() * 7 % 200));
  };
  text(before);
  std::vector<PromptPicture> shown;
  for (int p = 0; p < pictures; ++p) {
    if (p > 0) text(2);
    prompt.ids.insert(prompt.ids.end(), static_cast<std::size_t>(config.visual_tokens_per_image()),
                      static_cast<std::int32_t>(config.image_token_id));
    shown.push_back({static_cast<std::uint64_t>(p + 1), {0, 0, 56, 56}});
  }
  text(after);
  auto encoded = encode_ids(prompt.ids, shown, config);
  EXPECT_TRUE(encoded) << encoded.error().to_string();
  prompt.encoded = std::move(*encoded);
  auto tensor = Tensor::allocate(
      Shape{static_cast<std::int64_t>(prompt.ids.size()), config.decoder.hidden_size}, DType::f32);
  prompt.embeddings = std::move(*tensor);
  std::uint64_t state = 12345;
  for (std::int64_t i = 0; i < prompt.embeddings.shape().elements(); ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    prompt.embeddings.as<float>()[i] = static_cast<float>(state >> 40) / 8388608.0f - 1.0f;
  }
  return prompt;
}

struct Prefilled {
  DecoderState state;
  PruningRecord record;
  std::vector<float> logits;
};

Prefilled prefill(const LlavaModel& model, const RandomPrompt& prompt, Policy* policy,
                  PositionMode positions) {
  Prefilled run;
  Context context;
  context.threads = 2;
  const DecoderConfig& config = model.config().decoder;
  PruningPlan plan;
  if (policy != nullptr) {
    auto made = policy->plan(prompt.encoded.layout,
                             {static_cast<int>(config.layers), static_cast<int>(config.heads),
                              static_cast<int>(config.kv_heads), config.hidden_size});
    EXPECT_TRUE(made) << made.error().to_string();
    plan = *made;
    plan.positions = positions;
  }
  run.state = model.decoder().new_state();
  run.logits.resize(static_cast<std::size_t>(config.vocab_size));
  run.record.initial = prompt.encoded.layout.visual_count();
  PrefillInput input;
  input.embeddings = prompt.embeddings.view();
  input.layout = &prompt.encoded.layout;
  input.policy = plan.stages.empty() ? nullptr : policy;
  input.plan = &plan;
  const TensorView logits(reinterpret_cast<std::byte*>(run.logits.data()), DType::f32,
                          Shape{1, config.vocab_size});
  const Status status =
      model.decoder().prefill(context, input, run.state, logits, &run.record, nullptr);
  EXPECT_TRUE(status) << status.error().to_string();
  return run;
}

/// What the record says entered each layer, as the reference wants it; `extra` rows follow the
/// prompt.
std::vector<testing::ReferenceDecoder::LayerRows> rows_by_layer(const RandomPrompt& prompt,
                                                                const PruningRecord& record,
                                                                int layers, PositionMode mode,
                                                                int extra) {
  const SequenceLayout& layout = prompt.encoded.layout;
  std::vector<int> rows(static_cast<std::size_t>(layout.tokens() + extra)), positions;
  std::iota(rows.begin(), rows.end(), 0);
  positions = rows;
  std::vector<testing::ReferenceDecoder::LayerRows> result;
  for (int layer = 0; layer < layers; ++layer) {
    const auto cut = [&](const StageRecord& stage) {
      std::vector<int> kept, kept_positions;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const bool visual =
            rows[i] < layout.tokens() && layout.visual_ids[static_cast<std::size_t>(rows[i])] >= 0;
        const bool stays =
            !visual || std::binary_search(stage.kept.begin(), stage.kept.end(),
                                          layout.visual_ids[static_cast<std::size_t>(rows[i])]);
        if (!stays) continue;
        kept.push_back(rows[i]);
        kept_positions.push_back(mode == PositionMode::compact ? static_cast<int>(kept.size()) - 1
                                                               : positions[i]);
      }
      rows = kept;
      positions = kept_positions;
    };
    for (const StageRecord& stage : record.stages) {
      if (stage.when == Hook::before_layer && stage.layer == layer) cut(stage);
    }
    result.push_back({rows, positions});
    for (const StageRecord& stage : record.stages) {
      if (stage.when == Hook::after_layer && stage.layer == layer) cut(stage);
    }
  }
  return result;
}

double relative_error(const std::vector<float>& actual, const std::vector<double>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / norm);
}

class PrunedDecoder : public ::testing::TestWithParam<PositionMode> {
 protected:
  void SetUp() override {
    model_ = load_model();
    auto files = WeightFiles::open(kModel);
    ASSERT_TRUE(files);
    files_ = std::make_unique<WeightFiles>(std::move(*files));
    auto naming = detect_llava_naming(*files_);
    ASSERT_TRUE(naming);
    reference_ =
        std::make_unique<testing::ReferenceDecoder>(model_->config().decoder, *files_, *naming);
  }

  testing::ReferenceDecoder::Rows rows(const Tensor& embeddings) const {
    testing::ReferenceDecoder::Rows all;
    for (std::int64_t r = 0; r < embeddings.shape()[0]; ++r) {
      const float* row = embeddings.view().row<float>(r);
      all.emplace_back(row, row + embeddings.shape()[1]);
    }
    return all;
  }

  /// Prefill and three decode steps of a method against the reference on the recorded kept sets.
  void check(Policy& policy, int before, int pictures, int after) {
    const RandomPrompt prompt = random_prompt(*model_, before, pictures, after);
    Prefilled run = prefill(*model_, prompt, &policy, GetParam());
    ASSERT_FALSE(run.record.stages.empty());
    auto hidden = rows(prompt.embeddings);
    const int layers = static_cast<int>(model_->config().decoder.layers);
    Context context;
    for (int step = 0; step <= 3; ++step) {
      const auto expected = reference_->last_logits(
          hidden, rows_by_layer(prompt, run.record, layers, GetParam(), step));
      // Rounding of float32 against double through three small layers.
      EXPECT_LT(relative_error(run.logits, expected), 2e-5) << "step " << step;
      const auto token = static_cast<std::int32_t>(
          std::max_element(run.logits.begin(), run.logits.end()) - run.logits.begin());
      Tensor row =
          std::move(*Tensor::allocate(Shape{1, model_->config().decoder.hidden_size}, DType::f32));
      ASSERT_TRUE(model_->decoder().embed(context, std::array{token}, row.view()));
      hidden.emplace_back(row.as<float>(), row.as<float>() + row.shape()[1]);
      const TensorView logits(reinterpret_cast<std::byte*>(run.logits.data()), DType::f32,
                              Shape{1, model_->config().decoder.vocab_size});
      ASSERT_TRUE(model_->decoder().decode(context, token, run.state, logits, nullptr));
    }
  }

  std::shared_ptr<const LlavaModel> model_;
  std::unique_ptr<WeightFiles> files_;
  std::unique_ptr<testing::ReferenceDecoder> reference_;
};

TEST_P(PrunedDecoder, cuts_after_layers_equal_a_reference_on_the_kept_set) {
  AdaptInfer method({.layers = {0, 1}, .keep = {{9, false}, {3, false}}},
                    TextWeighting::text_prior);
  check(method, 4, 1, 6);
}

TEST_P(PrunedDecoder, cuts_before_layers_equal_a_reference_on_the_kept_set) {
  FastV method({.layers = {1, 2}, .keep = {{8, false}, {2, false}}});
  check(method, 4, 1, 6);
}

TEST_P(PrunedDecoder, two_pictures_keep_the_text_between_them) {
  AdaptInfer method({.layers = {0}, .keep = {{5, false}}}, TextWeighting::text_prior);
  check(method, 3, 2, 5);
}

TEST_P(PrunedDecoder, a_count_of_zero_leaves_text_alone_and_goes_on) {
  AdaptInfer method({.layers = {0}, .keep = {{0, false}}}, TextWeighting::text_prior);
  check(method, 3, 1, 5);
}

TEST_P(PrunedDecoder, a_picture_at_the_end_of_the_prompt_is_pruned_too) {
  FastV method({.layers = {1}, .keep = {{4, false}}});
  check(method, 5, 1, 0);
}

INSTANTIATE_TEST_SUITE_P(Positions, PrunedDecoder,
                         ::testing::Values(PositionMode::original, PositionMode::compact),
                         [](const auto& tested) {
                           return tested.param == PositionMode::original ? "original" : "compact";
                         });

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
