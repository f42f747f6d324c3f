#pragma once
// A prompt of random embeddings over a real layout, and decoder runs of it beside the reference in
// double.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "support/model_device.h"
#include "support/reference_decoder.h"
#include "vlm/llava_model.h"
#include "vlm/prompt.h"

namespace fovea::testing {

/// A golden checkpoint, and the reference over the same files.
struct LoadedModel {
  std::shared_ptr<const LlavaModel> model;
  std::unique_ptr<WeightFiles> files;
  std::unique_ptr<ReferenceDecoder> reference;

  static std::unique_ptr<LoadedModel> load(const std::string& name) {
    const std::string folder = std::string(FOVEA_SOURCE_DIR) + "/tests/golden/llava/" + name;
    auto model = LlavaModel::load(
        folder, {.threads = 2, .device = model_device(), .dtype = DTypeChoice::f32});
    auto files = WeightFiles::open(folder);
    EXPECT_TRUE(model && files);
    if (!model || !files) return nullptr;
    auto loaded = std::make_unique<LoadedModel>();
    loaded->model = *model;
    loaded->files = std::make_unique<WeightFiles>(std::move(*files));
    auto naming = detect_llava_naming(*loaded->files);
    EXPECT_TRUE(naming);
    if (!naming) return nullptr;
    loaded->reference = std::make_unique<ReferenceDecoder>(loaded->model->config().decoder,
                                                           *loaded->files, *naming);
    return loaded;
  }
};

struct RandomPrompt {
  std::vector<std::int32_t> ids;
  EncodedPrompt encoded;
  Tensor embeddings;
};

/// `before` text, pictures with two text tokens between them, `after` text.
inline RandomPrompt random_prompt(const LlavaModel& model, int before, int pictures, int after,
                                  std::uint64_t seed = 12345) {
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
  std::uint64_t state = seed;
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

inline ModelShape shape_of(const DecoderConfig& config) {
  return {static_cast<int>(config.layers),
          static_cast<int>(config.heads),
          static_cast<int>(config.kv_heads),
          config.hidden_size,
          config.head_dim,
          config.rope_theta};
}

inline TensorView row_view(std::vector<float>& values) {
  return TensorView(reinterpret_cast<std::byte*>(values.data()), DType::f32,
                    Shape{1, static_cast<std::int64_t>(values.size())});
}

/// Runs the prompt, from a prefix when one is given. Positions: the policy's own when null.
inline Result<Prefilled> try_prefill(const LlavaModel& model, const RandomPrompt& prompt,
                                     Policy* policy, const PositionMode* positions,
                                     const DecoderPrefix* prefix = nullptr,
                                     DecoderPrefix* capture = nullptr) {
  Prefilled run;
  Context context = model_context(2);
  const DecoderConfig& config = model.config().decoder;
  PruningPlan plan;
  if (policy != nullptr) {
    FOVEA_TRY(plan, policy->plan(prompt.encoded.layout, shape_of(config)));
    if (positions != nullptr) plan.positions = *positions;
  }
  run.state = model.decoder().new_state();
  run.logits.resize(static_cast<std::size_t>(config.vocab_size));
  run.record.initial = prompt.encoded.layout.visual_count();
  run.record.positions = plan.positions;
  PrefillInput input;
  input.embeddings = prompt.embeddings.view();
  input.layout = &prompt.encoded.layout;
  input.policy = plan.stages.empty() ? nullptr : policy;
  input.plan = &plan;
  input.prefix = prefix;
  input.capture = capture;
  FOVEA_CHECK(row_there(context, run.logits, [&](TensorView logits) {
    return model.decoder().prefill(context, input, run.state, logits, &run.record, nullptr);
  }));
  return run;
}

inline Prefilled prefill(const LlavaModel& model, const RandomPrompt& prompt, Policy* policy,
                         PositionMode positions) {
  auto run = try_prefill(model, prompt, policy, &positions);
  EXPECT_TRUE(run) << run.error().to_string();
  return run ? std::move(*run) : Prefilled{};
}

/// One greedy step; returns the embedding of the token that was fed.
inline std::vector<double> decode_greedy(const LlavaModel& model, Prefilled& run) {
  Context context = model_context();
  const auto token = static_cast<std::int32_t>(
      std::max_element(run.logits.begin(), run.logits.end()) - run.logits.begin());
  std::vector<float> row(static_cast<std::size_t>(model.config().decoder.hidden_size));
  EXPECT_TRUE(row_there(context, row, [&](TensorView there) {
    return model.decoder().embed(context, std::array{token}, there);
  }));
  EXPECT_TRUE(row_there(context, run.logits, [&](TensorView logits) {
    return model.decoder().decode(context, token, run.state, logits, nullptr);
  }));
  return {row.begin(), row.end()};
}

inline ReferenceDecoder::Rows rows_of(const Tensor& embeddings) {
  ReferenceDecoder::Rows all;
  for (std::int64_t r = 0; r < embeddings.shape()[0]; ++r) {
    const float* row = embeddings.view().row<float>(r);
    all.emplace_back(row, row + embeddings.shape()[1]);
  }
  return all;
}

}  // namespace fovea::testing
