#include "vision/vit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "kernels/base/file.h"
#include "vision/vit_towers.h"

namespace fovea {
namespace {

using namespace testing;  // NOLINT: the towers' vocabulary

// ---- Values
// --------------------------------------------------------------------------------------

TEST(VitEncoder, hidden_states_equal_transformers) {
  for (const char* name : {"quick_gelu_f32", "gelu_f16", "defaults_bf16"}) {
    SCOPED_TRACE(name);
    const std::string folder = std::string(FOVEA_SOURCE_DIR) + "/tests/golden/vit/" + name;
    const auto json = parse_json(*read_file(folder + "/config.json", 10000));
    ASSERT_TRUE(json);
    const auto config = parse_clip_vision_config(*json, "config.json");
    ASSERT_TRUE(config) << config.error().to_string();

    const auto bytes = read_file(folder + "/expected.safetensors", 1 << 20);
    ASSERT_TRUE(bytes);
    const auto expected = parse_safetensors(std::as_bytes(std::span(*bytes)));
    ASSERT_TRUE(expected);
    std::map<std::string, std::vector<float>> tensors;
    for (const SafetensorsEntry& entry : expected->tensors) {
      std::vector<float>& values = tensors[entry.name];
      values.resize(entry.bytes.size() / sizeof(float));
      std::memcpy(values.data(), entry.bytes.data(), entry.bytes.size());
    }

    const int layers = static_cast<int>(config->layers);
    for (int run_layers = 0; run_layers <= layers; ++run_layers) {
      const auto loaded = load(folder, *config, LinearDType::f32, run_layers);
      ASSERT_TRUE(loaded->encoder) << loaded->error->to_string();
      int seen = 0;
      const Tensor out =
          run(*loaded->encoder, tensors.at("pixels"), 2,
              [&](Context&, const VitBlockView& view) -> Status {
                EXPECT_EQ(view.layer, seen++);
                const std::span states(view.hidden.as<float>(),
                                       index_of(config->tokens() * config->hidden_size));
                const auto& wanted = tensors.at("states." + std::to_string(view.layer + 1));
                EXPECT_TRUE(close_to(states, doubles_of(wanted), 1e-5));
                return {};
              });
      EXPECT_EQ(seen, run_layers);
      const auto& wanted = tensors.at("states." + std::to_string(run_layers));
      EXPECT_TRUE(close_to(values_of(out), doubles_of(wanted), 1e-5));
    }
  }
}

TEST(VitEncoder, equals_a_reference_in_double) {
  VitConfig one_patch = small_config();
  one_patch.image_size = one_patch.patch_size = 6;
  VitConfig one_head = small_config();
  one_head.heads = 1;
  one_head.activation = Activation::gelu_erf;
  VitConfig wide_grid = small_config();
  wide_grid.patch_size = 1;
  wide_grid.image_size = 9;
  std::uint64_t stream = 1;
  for (const VitConfig& config : {small_config(), one_patch, one_head, wide_grid}) {
    const Checkpoint checkpoint = random_checkpoint(config, ++stream);
    const std::vector<float> pixels = random_pixels(config, ++stream);
    const Doubles expected = reference_forward(config, checkpoint, pixels, 3);
    const auto exact = load(checkpoint, config, LinearDType::f32, 3);
    ASSERT_TRUE(exact->encoder) << exact->error->to_string();
    EXPECT_TRUE(close_to(values_of(run(*exact->encoder, pixels)), expected, 1e-5));
    // bfloat16 keeps 8 bits of each weight: errors of 2^-9 of the terms, six products deep.
    const auto rounded = load(checkpoint, config, LinearDType::bf16, 3);
    ASSERT_TRUE(rounded->encoder) << rounded->error->to_string();
    EXPECT_TRUE(close_to(values_of(run(*rounded->encoder, pixels)), expected, 0.06));
  }
}

TEST(VitEncoder, threads_do_not_change_the_result) {
  const VitConfig config = small_config();
  const auto loaded = load(random_checkpoint(config, 3), config, LinearDType::f32, 3);
  ASSERT_TRUE(loaded->encoder);
  const std::vector<float> pixels = random_pixels(config, 4);
  const Tensor one = run(*loaded->encoder, pixels, 1);
  for (const int threads : {2, 3, 7}) {
    EXPECT_TRUE(same_bits(values_of(one), values_of(run(*loaded->encoder, pixels, threads))));
  }
}

TEST(VitEncoder, writes_rows_that_lie_apart) {
  const VitConfig config = small_config();
  const auto loaded = load(random_checkpoint(config, 3), config, LinearDType::f32, 2);
  ASSERT_TRUE(loaded->encoder);
  const std::vector<float> pixels = random_pixels(config, 4);
  testing::GuardedTensor out({config.tokens(), config.hidden_size}, 5);
  Context context = cpu_context(2);
  ASSERT_TRUE(loaded->encoder->forward(context, pixels_of(config, pixels).view(), out.view()));
  EXPECT_TRUE(out.guards_intact());
  EXPECT_TRUE(same_bits(out.values(), values_of(run(*loaded->encoder, pixels))));
}

// ---- Watching
// ------------------------------------------------------------------------------------

TEST(VitEncoder, observed_queries_keys_and_lse_give_rows_that_sum_to_one) {
  const VitConfig config = small_config();
  const auto loaded = load(random_checkpoint(config, 5), config, LinearDType::f32, 3);
  ASSERT_TRUE(loaded->encoder);
  const std::int64_t tokens = config.tokens(), head_dim = config.head_dim();
  int calls = 0;
  run(*loaded->encoder, random_pixels(config, 6), 2,
      [&](Context&, const VitBlockView& view) -> Status {
        ++calls;
        EXPECT_EQ(view.query.shape, Shape({tokens, config.heads, head_dim}));
        EXPECT_EQ(view.key.shape, Shape({tokens, config.heads, head_dim}));
        EXPECT_EQ(view.lse.shape, Shape({config.heads, tokens}));
        EXPECT_EQ(view.hidden.shape, Shape({tokens, config.hidden_size}));
        for (std::int64_t head = 0; head < config.heads; ++head) {
          for (std::int64_t r = 0; r < tokens; ++r) {
            double total = 0;
            for (std::int64_t c = 0; c < tokens; ++c) {
              double dot = 0;
              for (std::int64_t i = 0; i < head_dim; ++i) {
                dot += static_cast<double>(view.query.row<float>(r)[head * head_dim + i]) *
                       view.key.row<float>(c)[head * head_dim + i];
              }
              total += std::exp(dot * view.scale - view.lse.row<float>(head)[r]);
            }
            EXPECT_NEAR(total, 1.0, 1e-5);
          }
        }
        return {};
      });
  EXPECT_EQ(calls, 3);
}

TEST(VitEncoder, an_error_of_the_observer_stops_the_pass) {
  const VitConfig config = small_config();
  const auto loaded = load(random_checkpoint(config, 5), config, LinearDType::f32, 3);
  ASSERT_TRUE(loaded->encoder);
  Context context;
  Tensor out = *Tensor::allocate({config.tokens(), config.hidden_size}, DType::f32);
  int calls = 0;
  const Status status =
      loaded->encoder->forward(context, pixels_of(config, random_pixels(config, 6)).view(),
                               out.view(), [&](Context&, const VitBlockView&) -> Status {
                                 ++calls;
                                 return make_error(ErrorCode::internal, "enough");
                               });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "enough");
  EXPECT_EQ(calls, 1);
}

// ---- Work and memory
// -----------------------------------------------------------------------------

TEST(VitEncoder, a_second_pass_takes_no_more_scratch_memory) {
  const VitConfig config = small_config();
  const auto loaded = load(random_checkpoint(config, 7), config, LinearDType::f32, 3);
  ASSERT_TRUE(loaded->encoder);
  Context context = cpu_context(2);
  const Tensor pixels = pixels_of(config, random_pixels(config, 8));
  Tensor out = *Tensor::allocate({config.tokens(), config.hidden_size}, DType::f32);
  ASSERT_TRUE(loaded->encoder->forward(context, pixels.view(), out.view()));
  const std::size_t reserved = context.workspace.reserved_bytes();
  EXPECT_GT(reserved, 0U);
  ASSERT_TRUE(loaded->encoder->forward(context, pixels.view(), out.view()));
  EXPECT_EQ(context.workspace.reserved_bytes(), reserved);
}

TEST(VitEncoder, cancelling_stops_between_blocks) {
  const VitConfig config = small_config();
  std::atomic<bool> cancel{false};
  const auto loaded = load(random_checkpoint(config, 7), config, LinearDType::f32, 3);
  ASSERT_TRUE(loaded->encoder);
  Context context;
  context.cancel = &cancel;
  const Tensor pixels = pixels_of(config, random_pixels(config, 8));
  Tensor out = *Tensor::allocate({config.tokens(), config.hidden_size}, DType::f32);
  int blocks = 0;
  const Status status = loaded->encoder->forward(context, pixels.view(), out.view(),
                                                 [&](Context&, const VitBlockView&) -> Status {
                                                   cancel = ++blocks == 2;
                                                   return {};
                                                 });
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::cancelled);
  EXPECT_EQ(blocks, 2);
}

TEST(VitEncoder, products_are_those_of_one_pass) {
  const VitConfig config = small_config();
  Context context;
  const auto encoder = VitEncoder::random(context, config, LinearDType::f32, 2, 1);
  ASSERT_TRUE(encoder) << encoder.error().to_string();
  using Product = std::array<std::int64_t, 3>;
  const std::vector<Product> block = {{26, 40, 120}, {26, 40, 40}, {26, 40, 72}, {26, 72, 40}};
  std::vector<Product> expected = {{25, 48, 40}};
  for (int layer = 0; layer < 2; ++layer) {
    expected.insert(expected.end(), block.begin(), block.end());
  }
  EXPECT_EQ(encoder->products(), expected);
  EXPECT_GE(encoder->weight_bytes(), 4U * (48 * 40 + 2 * (40 * 160 + 2 * 40 * 72)));
}

TEST(VitEncoder, random_weights_depend_on_the_seed_alone) {
  const VitConfig config = small_config();
  const std::vector<float> pixels = random_pixels(config, 9);
  std::vector<Tensor> outputs;
  for (const auto& [threads, seed] : {std::pair{1, 4U}, {3, 4U}, {1, 5U}}) {
    Context context = cpu_context(threads);
    const auto encoder = VitEncoder::random(context, config, LinearDType::f32, 3, seed);
    ASSERT_TRUE(encoder) << encoder.error().to_string();
    outputs.push_back(run(*encoder, pixels));
  }
  EXPECT_TRUE(same_bits(values_of(outputs[0]), values_of(outputs[1])));
  EXPECT_FALSE(same_bits(values_of(outputs[0]), values_of(outputs[2])));
  for (const float value : values_of(outputs[0])) {
    EXPECT_TRUE(std::isfinite(value));
    EXPECT_LT(std::abs(value), 100.0F);
  }
}

// ---- What cannot be loaded or run
// ----------------------------------------------------------------

TEST(VitEncoder, blocks_that_do_not_run_are_not_read) {
  const VitConfig config = small_config();
  Checkpoint checkpoint = random_checkpoint(config, 10);
  std::erase_if(checkpoint.entries,
                [](const auto& entry) { return entry.first.starts_with("encoder.layers.2."); });
  const auto loaded = load(checkpoint, config, LinearDType::f32, 2);
  ASSERT_TRUE(loaded->encoder) << loaded->error->to_string();
  EXPECT_EQ(loaded->used.size(), checkpoint.entries.size());
  EXPECT_TRUE(loaded->used.contains("tower.encoder.layers.1.mlp.fc2.bias"));
  EXPECT_FALSE(load(checkpoint, config, LinearDType::f32, 3)->encoder);
}

TEST(VitEncoder, every_missing_or_misshapen_tensor_is_an_error_that_names_it) {
  const VitConfig config = small_config();
  const Checkpoint whole = random_checkpoint(config, 11);
  for (const auto& [name, entry] : whole.entries) {
    if (name.find("layers.1.") != std::string::npos) continue;  // as in the blocks beside it
    Checkpoint missing = whole;
    missing.entries.erase(name);
    auto loaded = load(missing, config, LinearDType::f32, 3);
    ASSERT_TRUE(loaded->error) << name;
    EXPECT_EQ(loaded->error->code, ErrorCode::bad_model);
    EXPECT_EQ(loaded->error->field, "tower." + name);

    Checkpoint misshapen = whole;
    auto& changed = misshapen.entries[name];
    changed.shape.front() += 1;
    changed.values.resize(changed.values.size() / index_of(entry.shape.front()) *
                          index_of(changed.shape.front()));
    loaded = load(misshapen, config, LinearDType::f32, 3);
    ASSERT_TRUE(loaded->error) << name;
    EXPECT_EQ(loaded->error->code, ErrorCode::bad_model);
    EXPECT_EQ(loaded->error->field, "tower." + name);
  }
}

TEST(VitEncoder, wrong_arguments_are_usage_errors) {
  const VitConfig config = small_config();
  const Checkpoint checkpoint = random_checkpoint(config, 12);
  for (const int run_layers : {-1, 4}) {
    const auto loaded = load(checkpoint, config, LinearDType::f32, run_layers);
    ASSERT_TRUE(loaded->error);
    EXPECT_EQ(loaded->error->code, ErrorCode::usage);
  }
  VitConfig odd = config;
  odd.heads = 3;
  EXPECT_EQ(load(checkpoint, odd, LinearDType::f32, 1)->error->code, ErrorCode::usage);

  Context context;
  const auto encoder = VitEncoder::random(context, config, LinearDType::f32, 1, 1);
  ASSERT_TRUE(encoder);
  Tensor out = *Tensor::allocate({config.tokens(), config.hidden_size}, DType::f32);
  Tensor pixels = pixels_of(config, random_pixels(config, 1));
  Tensor other = *Tensor::allocate({3, 20, 24}, DType::f32);
  Tensor halves = *Tensor::allocate({3, 20, 20}, DType::bf16);
  EXPECT_FALSE(encoder->forward(context, other.view(), out.view()));
  EXPECT_FALSE(encoder->forward(context, halves.view(), out.view()));
  EXPECT_FALSE(encoder->forward(context, pixels.view(), pixels.view()));
  EXPECT_TRUE(encoder->forward(context, pixels.view(), out.view()));
}

TEST(VitEncoder, loading_can_be_cancelled) {
  const VitConfig config = small_config();
  const std::atomic<bool> cancel{true};
  Context context;
  context.cancel = &cancel;
  const auto loaded =
      load(random_checkpoint(config, 12), config, LinearDType::f32, 3, std::move(context));
  ASSERT_TRUE(loaded->error);
  EXPECT_EQ(loaded->error->code, ErrorCode::cancelled);
}

}  // namespace
}  // namespace fovea
