#include "vision/vit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kernels/base/file.h"
#include "support/safetensors_bytes.h"
#include "support/temporary_folder.h"
#include "support/tensors.h"

namespace fovea {
namespace {

using testing::close_to;
using testing::cpu_context;
using testing::Random;
using testing::same_bits;
using testing::TemporaryFolder;

using Doubles = std::vector<double>;

std::span<const float> values_of(const Tensor& tensor) {
  return {tensor.as<float>(), static_cast<std::size_t>(tensor.shape().elements())};
}

Doubles doubles_of(std::span<const float> values) {
  return {values.begin(), values.end()};
}

std::size_t index_of(std::int64_t index) {
  return static_cast<std::size_t>(index);
}

// ---- A tower written down, and the slow way to run it
// --------------------------------------------

/// Tensors of a checkpoint by name, with their shapes.
struct Checkpoint {
  struct Entry {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  std::map<std::string, Entry> entries;

  const std::vector<float>& operator[](const std::string& name) const {
    return entries.at(name).values;
  }

  std::string file() const {
    std::vector<testing::TensorBytes> tensors;
    for (const auto& [name, entry] : entries) {
      std::string data(entry.values.size() * sizeof(float), '\0');
      std::memcpy(data.data(), entry.values.data(), data.size());
      tensors.push_back({"tower." + name, "F32", entry.shape, std::move(data)});
    }
    return testing::safetensors_file(tensors);
  }
};

Checkpoint random_checkpoint(const VitConfig& config, std::uint64_t stream) {
  Random random(stream);
  Checkpoint checkpoint;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, float deviation,
                       float mean = 0.0F) {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    std::vector<float> values = random.normals(count, deviation);
    for (float& value : values) value += mean;
    checkpoint.entries[name] = {std::move(shape), std::move(values)};
  };
  const auto add_norm = [&](const std::string& name) {
    add(name + ".weight", {config.hidden_size}, 0.3F, 1.0F);
    add(name + ".bias", {config.hidden_size}, 0.3F);
  };
  const auto add_linear = [&](const std::string& name, std::int64_t outputs, std::int64_t inputs) {
    add(name + ".weight", {outputs, inputs}, 1.0F / std::sqrt(static_cast<float>(inputs)));
    add(name + ".bias", {outputs}, 0.3F);
  };
  const std::int64_t hidden = config.hidden_size, patch = config.patch_size;
  add("embeddings.class_embedding", {hidden}, 1.0F);
  add("embeddings.position_embedding.weight", {config.tokens(), hidden}, 1.0F);
  add("embeddings.patch_embedding.weight", {hidden, config.channels, patch, patch}, 0.1F);
  add_norm("pre_layrnorm");
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string block = "encoder.layers." + std::to_string(layer) + ".";
    add_norm(block + "layer_norm1");
    add_norm(block + "layer_norm2");
    for (const char* part : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
      add_linear(block + "self_attn." + part, hidden, hidden);
    }
    add_linear(block + "mlp.fc1", config.intermediate_size, hidden);
    add_linear(block + "mlp.fc2", hidden, config.intermediate_size);
  }
  return checkpoint;
}

void reference_norm(Doubles& x, const VitConfig& config, const std::vector<float>& weight,
                    const std::vector<float>& bias) {
  const std::size_t width = index_of(config.hidden_size);
  for (std::size_t row = 0; row < x.size(); row += width) {
    double mean = 0, variance = 0;
    for (std::size_t i = 0; i < width; ++i) mean += x[row + i] / static_cast<double>(width);
    for (std::size_t i = 0; i < width; ++i) {
      variance += (x[row + i] - mean) * (x[row + i] - mean) / static_cast<double>(width);
    }
    for (std::size_t i = 0; i < width; ++i) {
      x[row + i] =
          (x[row + i] - mean) / std::sqrt(variance + config.layer_norm_eps) * weight[i] + bias[i];
    }
  }
}

Doubles reference_linear(const Doubles& x, const std::vector<float>& weight,
                         const std::vector<float>& bias) {
  const std::size_t outputs = bias.size(), inputs = weight.size() / outputs;
  Doubles y(x.size() / inputs * outputs);
  for (std::size_t row = 0; row < x.size() / inputs; ++row) {
    for (std::size_t out = 0; out < outputs; ++out) {
      double sum = bias[out];
      for (std::size_t in = 0; in < inputs; ++in) {
        sum += x[row * inputs + in] * weight[out * inputs + in];
      }
      y[row * outputs + out] = sum;
    }
  }
  return y;
}

double reference_activation(Activation activation, double x) {
  switch (activation) {
    case Activation::quick_gelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::gelu_erf:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    default:
      ADD_FAILURE() << "no reference";
      return x;
  }
}

Doubles reference_attention(const VitConfig& config, const Doubles& q, const Doubles& k,
                            const Doubles& v) {
  const std::size_t width = index_of(config.hidden_size), tokens = index_of(config.tokens());
  const std::size_t head_dim = index_of(config.head_dim());
  Doubles out(tokens * width, 0.0), row(tokens);
  for (std::size_t head = 0; head < index_of(config.heads); ++head) {
    for (std::size_t r = 0; r < tokens; ++r) {
      double total = 0;
      for (std::size_t c = 0; c < tokens; ++c) {
        double dot = 0;
        for (std::size_t i = head * head_dim; i < (head + 1) * head_dim; ++i) {
          dot += q[r * width + i] * k[c * width + i];
        }
        total += row[c] = std::exp(dot / std::sqrt(static_cast<double>(head_dim)));
      }
      for (std::size_t c = 0; c < tokens; ++c) {
        for (std::size_t i = head * head_dim; i < (head + 1) * head_dim; ++i) {
          out[r * width + i] += row[c] / total * v[c * width + i];
        }
      }
    }
  }
  return out;
}

void add_to(Doubles& x, const Doubles& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

Doubles reference_forward(const VitConfig& config, const Checkpoint& weights,
                          const std::vector<float>& pixels, int run_layers) {
  const std::int64_t side = config.image_size, patch = config.patch_size;
  const std::vector<float>& positions = weights["embeddings.position_embedding.weight"];
  const std::vector<float>& kernel = weights["embeddings.patch_embedding.weight"];
  Doubles x(positions.begin(), positions.end());
  for (std::int64_t h = 0; h < config.hidden_size; ++h) {
    x[index_of(h)] += weights["embeddings.class_embedding"][index_of(h)];
    for (std::int64_t p = 0; p < config.patches(); ++p) {
      double sum = 0;
      for (std::int64_t c = 0; c < config.channels; ++c) {
        for (std::int64_t dy = 0; dy < patch; ++dy) {
          for (std::int64_t dx = 0; dx < patch; ++dx) {
            const std::int64_t y = p / config.grid() * patch + dy;
            const std::int64_t column = p % config.grid() * patch + dx;
            sum += static_cast<double>(pixels[index_of((c * side + y) * side + column)]) *
                   kernel[index_of(((h * config.channels + c) * patch + dy) * patch + dx)];
          }
        }
      }
      x[index_of((p + 1) * config.hidden_size + h)] += sum;
    }
  }
  reference_norm(x, config, weights["pre_layrnorm.weight"], weights["pre_layrnorm.bias"]);
  for (int layer = 0; layer < run_layers; ++layer) {
    const std::string block = "encoder.layers." + std::to_string(layer) + ".";
    const auto linear = [&](const Doubles& from, const std::string& name) {
      return reference_linear(from, weights[block + name + ".weight"],
                              weights[block + name + ".bias"]);
    };
    const auto norm = [&](const std::string& name) {
      Doubles y = x;
      reference_norm(y, config, weights[block + name + ".weight"], weights[block + name + ".bias"]);
      return y;
    };
    const Doubles a = norm("layer_norm1");
    add_to(x,
           linear(reference_attention(config, linear(a, "self_attn.q_proj"),
                                      linear(a, "self_attn.k_proj"), linear(a, "self_attn.v_proj")),
                  "self_attn.out_proj"));
    Doubles m = linear(norm("layer_norm2"), "mlp.fc1");
    for (double& value : m) value = reference_activation(config.activation, value);
    add_to(x, linear(m, "mlp.fc2"));
  }
  return x;
}

// ---- Loading and running
// -------------------------------------------------------------------------

/// A tower read from a model folder, with the names it asked for.
struct Loaded {
  WeightFiles files;
  std::set<std::string> used;
  std::optional<VitEncoder> encoder;
  std::optional<Error> error;
};

std::unique_ptr<Loaded> load(const std::string& folder, const VitConfig& config, LinearDType dtype,
                             int run_layers, Context context = Context()) {
  auto loaded = std::make_unique<Loaded>();
  auto files = WeightFiles::open(folder);
  EXPECT_TRUE(files) << files.error().to_string();
  loaded->files = std::move(*files);
  const WeightReader reader(loaded->files, loaded->used, "tower.");
  auto encoder = VitEncoder::load(context, config, reader, dtype, run_layers);
  if (encoder) {
    loaded->encoder = std::move(*encoder);
  } else {
    loaded->error = encoder.error();
  }
  return loaded;
}

std::unique_ptr<Loaded> load(const Checkpoint& checkpoint, const VitConfig& config,
                             LinearDType dtype, int run_layers, Context context = Context()) {
  const TemporaryFolder folder;
  folder.write("model.safetensors", checkpoint.file());
  return load(folder.path().string(), config, dtype, run_layers, std::move(context));
}

Tensor pixels_of(const VitConfig& config, const std::vector<float>& values) {
  Tensor pixels =
      *Tensor::allocate({config.channels, config.image_size, config.image_size}, DType::f32);
  std::copy(values.begin(), values.end(), pixels.as<float>());
  return pixels;
}

std::vector<float> random_pixels(const VitConfig& config, std::uint64_t stream) {
  return Random(stream).normals(config.channels * config.image_size * config.image_size);
}

Tensor run(const VitEncoder& encoder, const std::vector<float>& pixels, int threads = 2,
           const VitObserver& observer = {}) {
  const VitConfig& config = encoder.config();
  Context context = cpu_context(threads);
  Tensor out = *Tensor::allocate({config.tokens(), config.hidden_size}, DType::f32);
  const Status status =
      encoder.forward(context, pixels_of(config, pixels).view(), out.view(), observer);
  EXPECT_TRUE(status) << (status ? "" : status.error().to_string());
  return out;
}

VitConfig small_config() {
  VitConfig config;
  config.hidden_size = 40;
  config.intermediate_size = 72;
  config.layers = 3;
  config.heads = 5;
  config.image_size = 20;
  config.patch_size = 4;
  return config;
}

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
