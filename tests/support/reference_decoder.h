#pragma once
// A Llama decoder in double precision, one token at a time, with a full softmax over every row:
// slow, short, and written without any of Fovea's operations. Knows which prompt rows enter each
// layer, so that it can check pruning.

#include <cmath>
#include <functional>
#include <map>
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
      hidden = std::move(entering);
      const auto index = static_cast<int>(l);
      attend(index, hidden, layers[l].positions, [](std::size_t, std::size_t) { return true; });
      add_mlp(index, hidden);
    }
    return logits(hidden.back());
  }

  /// Probabilities [head][query row][key row] of one layer over the rows that enter it; causal, and
  /// only for pairs that `sees` allows. A row that sees nothing has zeros.
  using Maps = std::vector<Rows>;
  using Sees = std::function<bool(std::size_t query, std::size_t key)>;
  Maps attention_maps(int layer, const Rows& hidden, const std::vector<int>& positions,
                      const Sees& sees) const {
    return maps_of(project(layer, hidden, positions), sees);
  }

  /// hidden += attention. A row that does not see itself takes no part.
  void attend(int layer, Rows& hidden, const std::vector<int>& positions, const Sees& sees) const {
    const Projected p = project(layer, hidden, positions);
    const Maps maps = maps_of(p, sees);
    const Matrix& wo = matrix(layer_prefix(layer) + "self_attn.o_proj.weight");
    const auto dim = static_cast<std::size_t>(config_.head_dim);
    const std::size_t group = maps.size() / static_cast<std::size_t>(config_.kv_heads);
    for (std::size_t t = 0; t < hidden.size(); ++t) {
      if (!sees(t, t)) continue;
      std::vector<double> mixed(maps.size() * dim, 0.0);
      for (std::size_t h = 0; h < maps.size(); ++h) {
        for (std::size_t s = 0; s <= t; ++s) {
          for (std::size_t c = 0; c < dim; ++c)
            mixed[h * dim + c] += maps[h][t][s] * p.v[s][h / group * dim + c];
        }
      }
      const auto projected = multiply(wo, mixed);
      for (std::size_t c = 0; c < projected.size(); ++c) hidden[t][c] += projected[c];
    }
  }

  /// hidden += MLP
  void add_mlp(int layer, Rows& hidden) const {
    const std::string prefix = layer_prefix(layer);
    const Matrix &gate = matrix(prefix + "mlp.gate_proj.weight"),
                 &up = matrix(prefix + "mlp.up_proj.weight"),
                 &down = matrix(prefix + "mlp.down_proj.weight");
    for (auto& row : hidden) {
      const auto normed = norm(row, prefix + "post_attention_layernorm.weight");
      auto g = multiply(gate, normed);
      const auto u = multiply(up, normed);
      for (std::size_t c = 0; c < g.size(); ++c) g[c] = g[c] / (1.0 + std::exp(-g[c])) * u[c];
      const auto d = multiply(down, g);
      for (std::size_t c = 0; c < d.size(); ++c) row[c] += d[c];
    }
  }

  std::vector<double> logits(const std::vector<double>& row) const {
    return multiply(
        matrix(config_.tie_embeddings ? naming_.decoder + "embed_tokens.weight" : naming_.lm_head),
        norm(row, naming_.decoder + "norm.weight"));
  }

  const DecoderConfig& config() const { return config_; }

 private:
  struct Matrix {
    std::int64_t rows = 0, cols = 0;
    std::vector<float> values;
  };

  const Matrix& matrix(const std::string& name) const {
    const auto [found, fresh] = matrices_.try_emplace(name);
    Matrix& m = found->second;
    if (!fresh) return m;
    const SafetensorsEntry* entry = files_.find(name);
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
    const Matrix& w = matrix(weight);
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

  std::string layer_prefix(int layer) const {
    return naming_.decoder + "layers." + std::to_string(layer) + ".";
  }

  struct Projected {
    Rows q, k, v;  // q and k rotated
  };
  Projected project(int layer, const Rows& hidden, const std::vector<int>& positions) const {
    const std::string prefix = layer_prefix(layer);
    const Matrix &wq = matrix(prefix + "self_attn.q_proj.weight"),
                 &wk = matrix(prefix + "self_attn.k_proj.weight"),
                 &wv = matrix(prefix + "self_attn.v_proj.weight");
    Projected p;
    for (std::size_t t = 0; t < hidden.size(); ++t) {
      const auto normed = norm(hidden[t], prefix + "input_layernorm.weight");
      p.q.push_back(multiply(wq, normed));
      p.k.push_back(multiply(wk, normed));
      p.v.push_back(multiply(wv, normed));
      rotate(p.q[t], positions[t]);
      rotate(p.k[t], positions[t]);
    }
    return p;
  }

  Maps maps_of(const Projected& projected, const Sees& sees) const {
    const auto dim = static_cast<std::size_t>(config_.head_dim);
    const auto heads = static_cast<std::size_t>(config_.heads);
    const std::size_t group = heads / static_cast<std::size_t>(config_.kv_heads);
    const std::size_t n = projected.q.size();
    Maps maps(heads, Rows(n, std::vector<double>(n, 0.0)));
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t t = 0; t < n; ++t) {
        std::vector<double>& p = maps[h][t];
        double largest = -1e300, sum = 0;
        for (std::size_t s = 0; s <= t; ++s) {
          if (!sees(t, s)) continue;
          for (std::size_t c = 0; c < dim; ++c)
            p[s] += projected.q[t][h * dim + c] * projected.k[s][h / group * dim + c];
          p[s] /= std::sqrt(static_cast<double>(dim));
          largest = std::max(largest, p[s]);
        }
        for (std::size_t s = 0; s <= t; ++s) {
          if (sees(t, s)) sum += p[s] = std::exp(p[s] - largest);
        }
        for (std::size_t s = 0; s <= t && sum > 0; ++s) p[s] /= sum;
      }
    }
    return maps;
  }

  DecoderConfig config_;
  const WeightFiles& files_;
  LlavaNaming naming_;
  mutable std::map<std::string, Matrix> matrices_;
};

}  // namespace fovea::testing
