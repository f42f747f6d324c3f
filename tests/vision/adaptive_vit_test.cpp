#include "vision/adaptive_vit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "support/shared_data.h"
#include "vision/classifier.h"
#include "vision/vit_towers.h"

namespace fovea {
namespace {

using namespace testing;  // NOLINT: the towers' vocabulary

// ---- The eager reference in double -------------------------------------------------------------

/// Section 3, from whole attention matrices: scores of the tokens behind the class token.
Doubles dense_scores(const VitConfig& config, const DenseAttention& dense) {
  const std::size_t n = dense.tokens, heads = index_of(config.heads);
  const std::size_t head_dim = index_of(config.head_dim());
  Doubles scores;
  for (std::size_t i = 1; i < n; ++i) {
    Doubles norms(heads);
    for (std::size_t h = 0; h < heads; ++h) {
      double squares = 0;
      for (std::size_t c = 0; c < head_dim; ++c) {
        const double value = dense.context[i * heads * head_dim + h * head_dim + c];
        squares += value * value;
      }
      norms[h] = std::sqrt(squares);
    }
    const double total = std::accumulate(norms.begin(), norms.end(), 1e-8);
    double score = 0;
    for (std::size_t h = 0; h < heads; ++h) score += dense.p[h * n * n + i] * norms[h] / total;
    scores.push_back(score);
  }
  return scores;
}

struct Reference {
  std::vector<std::vector<std::int32_t>> kept;  // raster indices after each cut
  Doubles states;                               // of the tokens that are left
};

/// Section 4 for one picture.
Reference reference_adaptive(const VitConfig& config, const Checkpoint& weights,
                             const std::vector<float>& pixels, const VitPruneSettings& settings) {
  Reference reference;
  Doubles x = reference_embeddings(config, weights, pixels), state;
  const std::size_t width = index_of(config.hidden_size);
  std::vector<std::int32_t> present(index_of(config.patches()));
  std::iota(present.begin(), present.end(), 0);
  for (int layer = 0; layer < config.layers; ++layer) {
    for (const VitCut& cut : settings.cuts) {
      if (cut.block != layer) continue;
      Doubles left(x.begin(), x.begin() + config.hidden_size), left_state;
      std::vector<std::int32_t> left_present;
      for (std::size_t i = 0; i < present.size(); ++i) {
        if (!(state[i] > cut.threshold)) continue;
        const auto row = x.begin() + static_cast<std::ptrdiff_t>((i + 1) * width);
        left.insert(left.end(), row, row + config.hidden_size);
        left_state.push_back(state[i]);
        left_present.push_back(present[i]);
      }
      x = std::move(left);
      state = std::move(left_state);
      present = std::move(left_present);
      reference.kept.push_back(present);
    }
    const Doubles scores = dense_scores(config, reference_block(config, weights, layer, x));
    if (layer < kFirstScoredBlock) continue;
    if (settings.state == VitScoreState::last || state.empty()) {
      state = scores;
    } else {
      const bool sum = settings.state == VitScoreState::accu;
      for (std::size_t i = 0; i < state.size(); ++i) {
        state[i] = sum ? state[i] + scores[i] : .99 * state[i] + .01 * scores[i];
      }
    }
  }
  reference.states = std::move(x);
  return reference;
}

// ---- Random towers -----------------------------------------------------------------------------

VitConfig tower_config() {
  VitConfig config = small_config();
  config.layers = 6;
  return config;
}

VitPruneSettings settings_of(std::vector<float> thresholds,
                             VitScoreState state = VitScoreState::last) {
  VitPruneSettings settings;
  settings.state = state;
  int block = kFirstScoredBlock;
  for (const float threshold : thresholds) {
    settings.cuts.push_back({.block = ++block, .threshold = threshold});
  }
  return settings;
}

struct PrunedBatch {
  BatchRun run;
  std::vector<VitPruneRecord> records;
};

PrunedBatch run_pruned(const VitEncoder& encoder, const std::vector<std::vector<float>>& pictures,
                       const VitPruneSettings& settings) {
  VitPruneReducer reducer(settings, encoder.config());
  VitHooks hooks;
  hooks.reducer = &reducer;
  PrunedBatch batch;
  batch.run = run_batch(encoder, pictures, hooks);
  EXPECT_FALSE(batch.run.error) << batch.run.error->to_string();
  batch.records = reducer.records();
  return batch;
}

std::vector<std::vector<std::int32_t>> kept_of(const VitPruneRecord& record) {
  std::vector<std::vector<std::int32_t>> kept;
  for (const StageRecord& stage : record.stages) kept.push_back(stage.kept);
  return kept;
}

std::vector<std::vector<float>> some_pictures(const VitConfig& config, int count) {
  std::vector<std::vector<float>> pictures;
  for (int i = 0; i < count; ++i) {
    pictures.push_back(random_pixels(config, 100 + static_cast<std::uint64_t>(i)));
  }
  return pictures;
}

TEST(AdaptiveVitEncoder, scores_from_the_kernel_equal_dense_scores) {
  const VitConfig config = tower_config();
  const Checkpoint checkpoint = random_checkpoint(config, 40);
  const auto loaded = load(checkpoint, config, LinearDType::f32, 6);
  ASSERT_TRUE(loaded->encoder);
  const auto pictures = some_pictures(config, 2);
  std::vector<Doubles> states;
  for (const auto& picture : pictures) {
    states.push_back(reference_embeddings(config, checkpoint, picture));
  }
  VitHooks hooks;
  hooks.observer = [&](Context& context, const VitBlockView& block) -> Status {
    for (std::size_t p = 0; p < pictures.size(); ++p) {
      const Doubles wanted =
          dense_scores(config, reference_block(config, checkpoint, block.layer, states[p]));
      const auto found = vit_token_scores(context, block, static_cast<std::int64_t>(p), 1);
      if (!found) return found.error();
      for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found->as<float>()[i], wanted[i], 1e-6);
    }
    return {};
  };
  EXPECT_FALSE(run_batch(*loaded->encoder, pictures, hooks).error);
}

TEST(AdaptiveVitEncoder, survivors_and_states_equal_an_eager_reference_in_any_batch) {
  const VitConfig config = tower_config();
  const Checkpoint checkpoint = random_checkpoint(config, 41);
  const auto loaded = load(checkpoint, config, LinearDType::f32, 6);
  ASSERT_TRUE(loaded->encoder);
  const auto pictures = some_pictures(config, 6);
  for (const VitPruneSettings& settings :
       {settings_of({.02F, .03F, .05F}), settings_of({.04F, .02F, .2F}),
        settings_of({.02F, .06F, .1F}, VitScoreState::accu),
        settings_of({.02F, .025F, .03F}, VitScoreState::ema)}) {
    const PrunedBatch batch = run_pruned(*loaded->encoder, pictures, settings);
    std::size_t pruned = 0, left = 0;
    for (std::size_t p = 0; p < pictures.size(); ++p) {
      const Reference wanted = reference_adaptive(config, checkpoint, pictures[p], settings);
      EXPECT_EQ(kept_of(batch.records[p]), wanted.kept);
      const auto found = std::span(batch.run.states)
                             .subspan(index_of(batch.run.rows.first(static_cast<std::int64_t>(p)) *
                                               config.hidden_size),
                                      wanted.states.size());
      EXPECT_TRUE(close_to(found, wanted.states, 2e-5));
      pruned += 25 - wanted.kept.front().size();
      left += wanted.kept.front().size();
      // The same picture alone: the same survivors and the same bits.
      const PrunedBatch alone = run_pruned(*loaded->encoder, {pictures[p]}, settings);
      EXPECT_EQ(kept_of(alone.records.front()), wanted.kept);
      EXPECT_TRUE(same_bits(alone.run.states, found));
    }
    EXPECT_GT(pruned, 0U);  // thresholds that decide nothing would prove nothing
    EXPECT_GT(left, 0U);
  }
}

TEST(AdaptiveVitEncoder, keep_all_thresholds_are_bit_identical_to_the_plain_vit) {
  const VitConfig config = tower_config();
  const auto loaded = load(random_checkpoint(config, 42), config, LinearDType::f32, 6);
  ASSERT_TRUE(loaded->encoder);
  const auto pictures = some_pictures(config, 3);
  const PrunedBatch batch = run_pruned(*loaded->encoder, pictures, settings_of({-1, -1, -1}));
  EXPECT_TRUE(same_bits(batch.run.states, run_batch(*loaded->encoder, pictures).states));
  EXPECT_EQ(batch.records[1].stages[2].kept.size(), 25U);
  EXPECT_EQ(batch.records[1].tokens_entering, std::vector<std::int64_t>(6, 26));
}

TEST(AdaptiveVitEncoder, a_picture_without_survivors_goes_on_as_its_class_token) {
  const VitConfig config = tower_config();
  const Checkpoint checkpoint = random_checkpoint(config, 43);
  const auto loaded = load(checkpoint, config, LinearDType::f32, 6);
  ASSERT_TRUE(loaded->encoder);
  const auto pictures = some_pictures(config, 2);
  const VitPruneSettings settings = settings_of({2, 2, 2});
  const PrunedBatch batch = run_pruned(*loaded->encoder, pictures, settings);
  EXPECT_EQ(batch.run.rows.offsets, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(batch.records[0].tokens_entering, (std::vector<std::int64_t>{26, 26, 26, 1, 1, 1}));
  const Reference wanted = reference_adaptive(config, checkpoint, pictures[1], settings);
  EXPECT_TRUE(close_to(std::span(batch.run.states).subspan(40), wanted.states, 2e-5));
}

TEST(AdaptiveVitEncoder, permuting_patches_permutes_survivors_and_leaves_the_class_token) {
  const VitConfig config = tower_config();
  const Checkpoint checkpoint = random_checkpoint(config, 44);
  // Patches trade places, together with their positions: patch i moves to 24 - i.
  Checkpoint mirrored = checkpoint;
  auto& positions = mirrored.entries["embeddings.position_embedding.weight"].values;
  const std::vector<float> given = positions;
  for (std::ptrdiff_t patch = 0; patch < 25; ++patch) {
    std::copy_n(given.begin() + (1 + patch) * 40, 40, positions.begin() + (25 - patch) * 40);
  }
  const std::vector<float> picture = random_pixels(config, 9);
  std::vector<float> moved(picture.size());
  for (std::int64_t c = 0; c < 3; ++c) {
    for (std::int64_t y = 0; y < 20; ++y) {
      for (std::int64_t x = 0; x < 20; ++x) {
        const std::int64_t to_y = (4 - y / 4) * 4 + y % 4, to_x = (4 - x / 4) * 4 + x % 4;
        moved[index_of((c * 20 + to_y) * 20 + to_x)] = picture[index_of((c * 20 + y) * 20 + x)];
      }
    }
  }
  const VitPruneSettings settings = settings_of({.02F, .03F, .05F});
  const auto plain = load(checkpoint, config, LinearDType::f32, 6);
  const auto other = load(mirrored, config, LinearDType::f32, 6);
  ASSERT_TRUE(plain->encoder && other->encoder);
  const PrunedBatch a = run_pruned(*plain->encoder, {picture}, settings);
  const PrunedBatch b = run_pruned(*other->encoder, {moved}, settings);
  const auto kept_a = kept_of(a.records.front()), kept_b = kept_of(b.records.front());
  for (std::size_t cut = 0; cut < 3; ++cut) {
    std::vector<std::int32_t> back;
    for (const std::int32_t patch : kept_b[cut]) back.push_back(24 - patch);
    std::ranges::reverse(back);
    EXPECT_EQ(back, kept_a[cut]);
  }
  const Doubles wanted(a.run.states.begin(), a.run.states.begin() + 40);
  EXPECT_TRUE(close_to(std::span(b.run.states).first(40), wanted, 2e-5));
}

TEST(AdaptiveVitEncoder, batch_average_gives_every_picture_the_same_count) {
  const VitConfig config = tower_config();
  const auto loaded = load(random_checkpoint(config, 45), config, LinearDType::f32, 6);
  ASSERT_TRUE(loaded->encoder);
  const auto pictures = some_pictures(config, 4);
  VitPruneSettings settings = settings_of({.03F, .03F});
  const PrunedBatch exact = run_pruned(*loaded->encoder, pictures, settings);
  std::size_t total = 0;
  for (const auto& record : exact.records) total += record.stages[0].kept.size();
  settings.rule = VitKeepRule::batch_average;
  const PrunedBatch even = run_pruned(*loaded->encoder, pictures, settings);
  for (const auto& record : even.records) EXPECT_EQ(record.stages[0].kept.size(), total / 4);
}

// ---- A real model ------------------------------------------------------------------------------

/// The tensors of a Hugging Face ViT under the names of the reference, the bias of its patches
/// added to their positions.
Checkpoint renamed(const VitClassifier& model) {
  Checkpoint checkpoint;
  const VitConfig& config = model.config().vit;
  std::vector<float> patch_bias;
  for (const std::string& name : model.weights().names()) {
    const SafetensorsEntry* entry = model.weights().find(name);
    std::vector<float> values(entry->bytes.size() / sizeof(float));
    std::memcpy(values.data(), entry->bytes.data(), entry->bytes.size());
    std::string to = name.starts_with("vit.") ? name.substr(4) : name;
    for (const auto& [from, with] : std::initializer_list<std::pair<std::string, std::string>>{
             {"embeddings.cls_token", "embeddings.class_embedding"},
             {"embeddings.position_embeddings", "embeddings.position_embedding.weight"},
             {"embeddings.patch_embeddings.projection", "embeddings.patch_embedding"},
             {"encoder.layer.", "encoder.layers."},
             {"layernorm_before", "layer_norm1"},
             {"layernorm_after", "layer_norm2"},
             {"attention.attention.query", "self_attn.q_proj"},
             {"attention.attention.key", "self_attn.k_proj"},
             {"attention.attention.value", "self_attn.v_proj"},
             {"attention.output.dense", "self_attn.out_proj"},
             {"intermediate.dense", "mlp.fc1"},
             {"output.dense", "mlp.fc2"}}) {
      const auto place = to.find(from);
      if (place != std::string::npos) to.replace(place, from.size(), with);
    }
    if (to == "embeddings.patch_embedding.bias") patch_bias = values;
    checkpoint.entries[to] = {entry->shape, std::move(values)};
  }
  auto& positions = checkpoint.entries["embeddings.position_embedding.weight"].values;
  for (std::size_t i = index_of(config.hidden_size); i < positions.size(); ++i) {
    positions[i] += patch_bias[i % patch_bias.size()];
  }
  return checkpoint;
}

TEST(AdaptiveVitEncoder, survivors_and_logits_of_the_real_model_equal_the_eager_reference) {
  const auto folder = shared_data("vit-fashion-mnist");
  if (!folder) GTEST_SKIP() << shared_data_missing("vit-fashion-mnist");
  const auto model = VitClassifier::load(*folder, {.dtype = LinearDType::f32, .threads = 2});
  ASSERT_TRUE(model) << model.error().to_string();
  const VitConfig& config = (*model)->config().vit;
  const Checkpoint weights = renamed(**model);
  // Clothes or not, the arithmetic is the same: pictures of soft blobs need no package.
  constexpr std::size_t kPictures = 6;
  std::vector<std::vector<float>> pictures;
  for (std::size_t p = 0; p < kPictures; ++p) {
    std::vector<float>& picture = pictures.emplace_back(28 * 28);
    for (std::size_t i = 0; i < picture.size(); ++i) {
      const double x = static_cast<double>(i % 28) - 8 - 2.0 * static_cast<double>(p);
      const double y = static_cast<double>(i / 28) - 14;
      picture[i] = static_cast<float>(2 * std::exp(-(x * x + y * y) / 60) - 1);
    }
  }
  for (const VitPruneSettings& settings :
       {settings_of({.012F, .015F, .02F}), settings_of({.008F, .03F, .03F}),
        settings_of({.02F, .04F}, VitScoreState::accu)}) {
    VitPruneReducer reducer(settings, config);
    VitHooks hooks;
    hooks.reducer = &reducer;
    Tensor pixels = *Tensor::allocate({kPictures, 1, 28, 28}, DType::f32);
    auto* to = pixels.as<float>();
    for (const auto& picture : pictures) to = std::copy(picture.begin(), picture.end(), to);
    Tensor logits = *Tensor::allocate({kPictures, 10}, DType::f32);
    Context context = cpu_context(2);
    const auto rows = (*model)->logits(context, pixels.view(), logits.view(), hooks);
    ASSERT_TRUE(rows) << rows.error().to_string();
    std::size_t kept = 0;
    for (std::size_t p = 0; p < kPictures; ++p) {
      const Reference wanted = reference_adaptive(config, weights, pictures[p], settings);
      EXPECT_EQ(kept_of(reducer.records()[p]), wanted.kept);
      kept += wanted.kept.back().size();
      Doubles token(wanted.states.begin(), wanted.states.begin() + config.hidden_size);
      reference_norm(token, config, weights["layernorm.weight"], weights["layernorm.bias"]);
      const Doubles expected =
          reference_linear(token, weights["classifier.weight"], weights["classifier.bias"]);
      EXPECT_TRUE(close_to({logits.as<float>() + p * 10, 10}, expected, 2e-5));
    }
    EXPECT_GT(kept, 0U);
    EXPECT_LT(kept, kPictures * 49);
  }
}

// ---- Thresholds --------------------------------------------------------------------------------

Result<VitThresholds> parse(const std::string& text) {
  const auto json = parse_json(text);
  EXPECT_TRUE(json) << text;
  return parse_vit_thresholds(*json, "t.json");
}

TEST(VitThresholds, a_written_file_reads_back) {
  VitThresholds written;
  written.blocks = {4, 7, 10};
  written.thresholds = {.001, .0021, .1 / 3};
  written.state = VitScoreState::ema;
  written.patches = 196;
  written.origin = "calibration";
  const auto read = parse(written.to_json().dump());
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(read->blocks, written.blocks);
  EXPECT_EQ(read->thresholds, written.thresholds);
  EXPECT_EQ(read->state, written.state);
  EXPECT_EQ(read->patches, 196);
  EXPECT_EQ(read->origin, "calibration");
}

TEST(VitThresholds, scale_with_the_number_of_patches) {
  const auto read = parse(R"({"blocks": [4], "thresholds": [0.004], "patches": 196})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->settings_for(196).cuts[0].threshold, .004F);
  EXPECT_FLOAT_EQ(read->settings_for(784).cuts[0].threshold, .001F);
  const auto unknown = parse(R"({"blocks": [4], "thresholds": [0.004]})");
  ASSERT_TRUE(unknown);
  EXPECT_EQ(unknown->settings_for(784).cuts[0].threshold, .004F);
}

TEST(VitThresholds, bad_files_are_errors_that_name_the_field) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"blocks": [4]})", "thresholds"},
      {R"({"thresholds": [0.1]})", "blocks"},
      {R"({"blocks": [4], "thresholds": []})", "thresholds"},
      {R"({"blocks": [4], "thresholds": ["a"]})", "thresholds"},
      {R"({"blocks": [4, 7], "thresholds": [0.1]})", "thresholds"},
      {R"({"blocks": [4.5], "thresholds": [0.1]})", "blocks"},
      {R"({"blocks": [-1], "thresholds": [0.1]})", "blocks"},
      {R"({"blocks": [4], "thresholds": [0.1], "score": "mean"})", "score"},
      {R"({"blocks": [4], "thresholds": [0.1], "score": 1})", "score"},
      {R"({"blocks": [4], "thresholds": [0.1], "patches": -1})", "patches"},
      {R"({"blocks": [4], "thresholds": [0.1], "method": "tome"})", "method"},
  };
  for (const auto& [text, field] : cases) {
    const auto read = parse(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, ErrorCode::bad_input) << text;
    EXPECT_EQ(read.error().field, field) << text;
    EXPECT_EQ(read.error().file, "t.json") << text;
  }
  EXPECT_FALSE(parse("[]"));
}

TEST(VitThresholds, come_from_a_trained_checkpoint) {
  VitConfig config = tower_config();
  config.layers = 12;
  const auto open = [](std::vector<float> thresholds) {
    const TemporaryFolder folder;
    std::vector<TensorBytes> tensors{{"norm.bias", "F32", {1}, raw_bytes({0.0F})}};
    for (std::size_t i = 0; i < thresholds.size(); ++i) {
      tensors.push_back({"score_predictor." + std::to_string(i) + ".keep_threshold",
                         "F32",
                         {},
                         raw_bytes({thresholds[i]})});
    }
    folder.write("model.safetensors", safetensors_file(tensors));
    auto files = WeightFiles::open(folder.path().string());
    EXPECT_TRUE(files) << files.error().to_string();
    return std::move(*files);
  };
  const auto three = checkpoint_vit_thresholds(open({.001F, .002F, .003F}), config, {});
  ASSERT_TRUE(three) << three.error().to_string();
  ASSERT_TRUE(*three);
  EXPECT_EQ((*three)->blocks, (std::vector<int>{4, 7, 10}));
  EXPECT_EQ((*three)->settings_for(25).cuts[1].threshold, .002F);
  EXPECT_EQ((*three)->patches, 25);
  EXPECT_EQ((*three)->origin, "checkpoint");

  const auto none = checkpoint_vit_thresholds(open({}), config, {});
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
  EXPECT_EQ(checkpoint_vit_thresholds(open({.1F, .2F}), config, {}).error().field,
            "score_predictor");
  EXPECT_TRUE(checkpoint_vit_thresholds(open({.1F, .2F}), config, {5, 9}));
  EXPECT_EQ(checkpoint_vit_thresholds(open({.1F, INFINITY}), config, {5, 9}).error().field,
            "score_predictor.1.keep_threshold");
}

}  // namespace
}  // namespace fovea
