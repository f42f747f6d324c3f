#pragma once
// Small Vision Transformers written down tensor by tensor, a slow reference in double, and how
// tests load and run them.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/safetensors_bytes.h"
#include "support/temporary_folder.h"
#include "support/tensors.h"
#include "vision/vit.h"

namespace fovea::testing {

using Doubles = std::vector<double>;

inline std::span<const float> values_of(const Tensor& tensor) {
  return {tensor.as<float>(), static_cast<std::size_t>(tensor.shape().elements())};
}

inline Doubles doubles_of(std::span<const float> values) {
  return {values.begin(), values.end()};
}

inline std::size_t index_of(std::int64_t index) {
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
    std::vector<TensorBytes> tensors;
    for (const auto& [name, entry] : entries) {
      std::string data(entry.values.size() * sizeof(float), '\0');
      std::memcpy(data.data(), entry.values.data(), data.size());
      tensors.push_back({"tower." + name, "F32", entry.shape, std::move(data)});
    }
    return safetensors_file(tensors);
  }
};

inline Checkpoint random_checkpoint(const VitConfig& config, std::uint64_t stream) {
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

inline void reference_norm(Doubles& x, const VitConfig& config, const std::vector<float>& weight,
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

inline Doubles reference_linear(const Doubles& x, const std::vector<float>& weight,
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

inline double reference_activation(Activation activation, double x) {
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

/// What a block's attention did, whole.
struct DenseAttention {
  std::size_t tokens = 0;
  Doubles p;        // [heads, tokens, tokens]
  Doubles context;  // [tokens, hidden]: before the output projection
};

inline DenseAttention reference_attention(const VitConfig& config, const Doubles& q,
                                          const Doubles& k, const Doubles& v) {
  const std::size_t width = index_of(config.hidden_size), tokens = q.size() / width;
  const std::size_t head_dim = index_of(config.head_dim());
  DenseAttention dense;
  dense.tokens = tokens;
  dense.context.resize(tokens * width, 0.0);
  dense.p.resize(index_of(config.heads) * tokens * tokens);
  for (std::size_t head = 0; head < index_of(config.heads); ++head) {
    for (std::size_t r = 0; r < tokens; ++r) {
      double* row = &dense.p[(head * tokens + r) * tokens];
      double total = 0;
      for (std::size_t c = 0; c < tokens; ++c) {
        double dot = 0;
        for (std::size_t i = head * head_dim; i < (head + 1) * head_dim; ++i) {
          dot += q[r * width + i] * k[c * width + i];
        }
        total += row[c] = std::exp(dot / std::sqrt(static_cast<double>(head_dim)));
      }
      for (std::size_t c = 0; c < tokens; ++c) {
        row[c] /= total;
        for (std::size_t i = head * head_dim; i < (head + 1) * head_dim; ++i) {
          dense.context[r * width + i] += row[c] * v[c * width + i];
        }
      }
    }
  }
  return dense;
}

inline void add_to(Doubles& x, const Doubles& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

/// One block over [tokens, hidden], however many tokens there are.
inline DenseAttention reference_block(const VitConfig& config, const Checkpoint& weights, int layer,
                                      Doubles& x) {
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
  DenseAttention dense =
      reference_attention(config, linear(a, "self_attn.q_proj"), linear(a, "self_attn.k_proj"),
                          linear(a, "self_attn.v_proj"));
  add_to(x, linear(dense.context, "self_attn.out_proj"));
  Doubles m = linear(norm("layer_norm2"), "mlp.fc1");
  for (double& value : m) value = reference_activation(config.activation, value);
  add_to(x, linear(m, "mlp.fc2"));
  return dense;
}

/// What enters block 0.
inline Doubles reference_embeddings(const VitConfig& config, const Checkpoint& weights,
                                    const std::vector<float>& pixels) {
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
  if (config.pre_norm) {
    reference_norm(x, config, weights["pre_layrnorm.weight"], weights["pre_layrnorm.bias"]);
  }
  return x;
}

inline Doubles reference_forward(const VitConfig& config, const Checkpoint& weights,
                                 const std::vector<float>& pixels, int run_layers) {
  Doubles x = reference_embeddings(config, weights, pixels);
  for (int layer = 0; layer < run_layers; ++layer) reference_block(config, weights, layer, x);
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

inline std::unique_ptr<Loaded> load(const std::string& folder, const VitConfig& config,
                                    LinearDType dtype, int run_layers,
                                    Context context = Context()) {
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

inline std::unique_ptr<Loaded> load(const Checkpoint& checkpoint, const VitConfig& config,
                                    LinearDType dtype, int run_layers,
                                    Context context = Context()) {
  const TemporaryFolder folder;
  folder.write("model.safetensors", checkpoint.file());
  return load(folder.path().string(), config, dtype, run_layers, std::move(context));
}

inline Tensor pixels_of(const VitConfig& config, const std::vector<float>& values) {
  Tensor pixels =
      *Tensor::allocate({config.channels, config.image_size, config.image_size}, DType::f32);
  std::copy(values.begin(), values.end(), pixels.as<float>());
  return pixels;
}

inline std::vector<float> random_pixels(const VitConfig& config, std::uint64_t stream) {
  return Random(stream).normals(config.channels * config.image_size * config.image_size);
}

inline Tensor run(const VitEncoder& encoder, const std::vector<float>& pixels, int threads = 2,
                  const VitObserver& observer = {}) {
  const VitConfig& config = encoder.config();
  Context context = cpu_context(threads);
  Tensor out = *Tensor::allocate({config.tokens(), config.hidden_size}, DType::f32);
  const Status status =
      encoder.forward(context, pixels_of(config, pixels).view(), out.view(), observer);
  EXPECT_TRUE(status) << (status ? "" : status.error().to_string());
  return out;
}

inline VitConfig small_config() {
  VitConfig config;
  config.hidden_size = 40;
  config.intermediate_size = 72;
  config.layers = 3;
  config.heads = 5;
  config.image_size = 20;
  config.patch_size = 4;
  return config;
}

struct BatchRun {
  VitRows rows;
  std::vector<float> states;  // of the rows that are left
  std::optional<Error> error;
};

inline BatchRun run_batch(const VitEncoder& encoder,
                          const std::vector<std::vector<float>>& pictures,
                          const VitHooks& hooks = {}) {
  const VitConfig& config = encoder.config();
  const auto count = static_cast<std::int64_t>(pictures.size());
  Tensor pixels =
      *Tensor::allocate({count, config.channels, config.image_size, config.image_size}, DType::f32);
  auto* to = pixels.as<float>();
  for (const auto& picture : pictures) to = std::copy(picture.begin(), picture.end(), to);
  Tensor out = *Tensor::allocate({count * config.tokens(), config.hidden_size}, DType::f32);
  Context context = cpu_context(2);
  auto rows = encoder.forward_batch(context, pixels.view(), out.view(), hooks);
  BatchRun run;
  if (!rows) {
    run.error = rows.error();
    return run;
  }
  run.rows = std::move(*rows);
  run.states.assign(out.as<float>(), out.as<float>() + run.rows.count() * config.hidden_size);
  return run;
}

}  // namespace fovea::testing
