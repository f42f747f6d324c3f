#pragma once
// A Llama decoder in double precision, one token at a time, with a full softmax over every row:
// slow, short, and written without any of Fovea's operations. Knows which prompt rows enter each
// layer, so that it can check pruning.

#include <cmath>
#include <string>
#include <vector>

#include "kernels/weights/safetensors.h"
#include "vlm/llava_config.h"

namespace fovea::testing {

class ReferenceDecoder {
 public:
  using Rows = std::vector<std::vector<double>>;

  ReferenceDecoder(const DecoderConfig& config, const WeightFiles& files, const LlavaNaming& naming)
      : config_(config), files_(files), naming_(naming) {}

  /// What one layer sees: prompt rows (indices into the embeddings) and their rotary positions.
  struct LayerRows {
    std::vector<int> rows;
    std::vector<int> positions;
  };

  /// Logits of the last row. layers[l] lists what enters layer l; rows absent from layer l + 1 are
  /// dropped after layer l.
  std::vector<double> last_logits(Rows hidden, const std::vector<LayerRows>& layers) const {
    std::vector<int> present(hidden.size());
    for (std::size_t i = 0; i < present.size(); ++i) present[i] = static_cast<int>(i);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      Rows entering;
      for (const int row : layers[l].rows) {
        for (std::size_t i = 0; i < present.size(); ++i) {
          if (present[i] == row) entering.push_back(hidden[i]);
        }
      }
      present = layers[l].rows;
      hidden = layer(static_cast<int>(l), std::move(entering), layers[l].positions);
    }
    return multiply(
        matrix(config_.tie_embeddings ? naming_.decoder + "embed_tokens.weight" : naming_.lm_head),
        norm(hidden.back(), naming_.decoder + "norm.weight"));
  }

 private:
  struct Matrix {
    std::int64_t rows = 0, cols = 0;
    std::vector<float> values;
  };

  Matrix matrix(const std::string& name) const {
    const SafetensorsEntry* entry = files_.find(name);
    Matrix m;
    m.rows = entry->shape[0];
    m.cols = entry->shape.size() > 1 ? entry->shape[1] : 1;
    m.values.resize(static_cast<std::size_t>(m.rows * m.cols));
    const Shape shape = entry->shape.size() > 1 ? Shape{m.rows, m.cols} : Shape{m.rows};
    const auto stored = files_.get(name, shape);
    const Status converted = convert(
        *stored, TensorView(reinterpret_cast<std::byte*>(m.values.data()), DType::f32, shape));
    (void)converted;
    return m;
  }

  static std::vector<double> multiply(const Matrix& m, const std::vector<double>& x) {
    std::vector<double> y(static_cast<std::size_t>(m.rows), 0.0);
    for (std::int64_t r = 0; r < m.rows; ++r) {
      for (std::int64_t c = 0; c < m.cols; ++c) {
        y[static_cast<std::size_t>(r)] +=
            static_cast<double>(m.values[static_cast<std::size_t>(r * m.cols + c)]) *
            x[static_cast<std::size_t>(c)];
      }
    }
    return y;
  }

  std::vector<double> norm(const std::vector<double>& x, const std::string& weight) const {
    const Matrix w = matrix(weight);
    double squares = 0;
    for (const double v : x) squares += v * v;
    const double scale =
        1.0 / std::sqrt(squares / static_cast<double>(x.size()) + config_.rms_norm_eps);
    std::vector<double> y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      y[i] = x[i] * scale * static_cast<double>(w.values[i]);
    return y;
  }

  void rotate(std::vector<double>& x, int position) const {
    const std::int64_t dim = config_.head_dim, half = dim / 2;
    for (std::size_t head = 0; head < x.size() / static_cast<std::size_t>(dim); ++head) {
      for (std::int64_t c = 0; c < half; ++c) {
        const double angle = position * std::pow(config_.rope_theta, -2.0 * static_cast<double>(c) /
                                                                         static_cast<double>(dim));
        double& a = x[head * static_cast<std::size_t>(dim) + static_cast<std::size_t>(c)];
        double& b = x[head * static_cast<std::size_t>(dim) + static_cast<std::size_t>(c + half)];
        const double rotated = a * std::cos(angle) - b * std::sin(angle);
        b = b * std::cos(angle) + a * std::sin(angle);
        a = rotated;
      }
    }
  }

  Rows layer(int index, Rows hidden, const std::vector<int>& positions) const {
    const std::string prefix = naming_.decoder + "layers." + std::to_string(index) + ".";
    const Matrix wq = matrix(prefix + "self_attn.q_proj.weight"),
                 wk = matrix(prefix + "self_attn.k_proj.weight"),
                 wv = matrix(prefix + "self_attn.v_proj.weight"),
                 wo = matrix(prefix + "self_attn.o_proj.weight"),
                 gate = matrix(prefix + "mlp.gate_proj.weight"),
                 up = matrix(prefix + "mlp.up_proj.weight"),
                 down = matrix(prefix + "mlp.down_proj.weight");
    const auto dim = static_cast<std::size_t>(config_.head_dim);
    const auto heads = static_cast<std::size_t>(config_.heads);
    const std::size_t group = heads / static_cast<std::size_t>(config_.kv_heads);
    Rows q, k, v;
    for (std::size_t t = 0; t < hidden.size(); ++t) {
      const auto normed = norm(hidden[t], prefix + "input_layernorm.weight");
      q.push_back(multiply(wq, normed));
      k.push_back(multiply(wk, normed));
      v.push_back(multiply(wv, normed));
      rotate(q[t], positions[t]);
      rotate(k[t], positions[t]);
    }
    for (std::size_t t = 0; t < hidden.size(); ++t) {
      std::vector<double> mixed(heads * dim, 0.0);
      for (std::size_t h = 0; h < heads; ++h) {
        std::vector<double> p(t + 1);
        double largest = -1e300, sum = 0;
        for (std::size_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (std::size_t c = 0; c < dim; ++c)
            dot += q[t][h * dim + c] * k[s][h / group * dim + c];
          p[s] = dot / std::sqrt(static_cast<double>(dim));
          largest = std::max(largest, p[s]);
        }
        for (double& value : p) sum += value = std::exp(value - largest);
        for (std::size_t s = 0; s <= t; ++s) {
          for (std::size_t c = 0; c < dim; ++c)
            mixed[h * dim + c] += p[s] / sum * v[s][h / group * dim + c];
        }
      }
      const auto projected = multiply(wo, mixed);
      for (std::size_t c = 0; c < projected.size(); ++c) hidden[t][c] += projected[c];
    }
    for (auto& row : hidden) {
      const auto normed = norm(row, prefix + "post_attention_layernorm.weight");
      auto g = multiply(gate, normed);
      const auto u = multiply(up, normed);
      for (std::size_t c = 0; c < g.size(); ++c) g[c] = g[c] / (1.0 + std::exp(-g[c])) * u[c];
      const auto d = multiply(down, g);
      for (std::size_t c = 0; c < d.size(); ++c) row[c] += d[c];
    }
    return hidden;
  }

  DecoderConfig config_;
  const WeightFiles& files_;
  LlavaNaming naming_;
};

}  // namespace fovea::testing
