// Token Merging inside a tower, against an eager reference in double over whole attention maps.

#include "vision/tome_merger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "vit_towers.h"

namespace fovea {
namespace {

using namespace testing;

VitConfig tower_config() {
  VitConfig config = small_config();
  config.layers = 4;
  return config;
}

struct Reference {
  Doubles states;                                  // in the order of merging
  std::vector<std::vector<std::int32_t>> made_of;  // rows of the tower, ascending
};

/// The method from its definition: A and B by turns, cosines of mean keys, weighted means.
Reference reference_tome(const VitConfig& config, const Checkpoint& weights,
                         const std::vector<float>& pixels, const std::vector<int>& counts,
                         bool proportional) {
  const std::size_t width = index_of(config.hidden_size), dim = index_of(config.head_dim());
  Reference r;
  Doubles& x = r.states;
  x = reference_embeddings(config, weights, pixels);
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(config.tokens()); ++row) {
    r.made_of.push_back({row});
  }
  for (std::size_t layer = 0; layer < counts.size(); ++layer) {
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
    const Doubles q = linear(a, "self_attn.q_proj"), k = linear(a, "self_attn.k_proj");
    const Doubles v = linear(a, "self_attn.v_proj");
    const std::size_t n = r.made_of.size();
    Doubles gathered(n * width, 0.0);
    for (std::size_t head = 0; head < index_of(config.heads); ++head) {
      for (std::size_t row = 0; row < n; ++row) {
        Doubles p(n);
        double total = 0;
        for (std::size_t c = 0; c < n; ++c) {
          double dot = 0;
          for (std::size_t i = head * dim; i < (head + 1) * dim; ++i) {
            dot += q[row * width + i] * k[c * width + i];
          }
          const double size = proportional ? static_cast<double>(r.made_of[c].size()) : 1.0;
          total += p[c] = size * std::exp(dot / std::sqrt(static_cast<double>(dim)));
        }
        for (std::size_t c = 0; c < n; ++c) {
          for (std::size_t i = head * dim; i < (head + 1) * dim; ++i) {
            gathered[row * width + i] += p[c] / total * v[c * width + i];
          }
        }
      }
    }
    add_to(x, linear(gathered, "self_attn.out_proj"));

    const auto cosine = [&](std::size_t i, std::size_t j) {
      double ij = 0, ii = 0, jj = 0;
      for (std::size_t c = 0; c < dim; ++c) {
        double ki = 0, kj = 0;
        for (std::size_t head = 0; head < index_of(config.heads); ++head) {
          ki += k[i * width + head * dim + c];
          kj += k[j * width + head * dim + c];
        }
        ij += ki * kj;
        ii += ki * ki;
        jj += kj * kj;
      }
      return ij / std::sqrt(ii * jj);
    };
    std::vector<std::pair<double, std::pair<std::size_t, std::size_t>>> found;
    for (std::size_t i = 2; i < n; i += 2) {
      std::size_t best = 1;
      for (std::size_t j = 3; j < n; j += 2) {
        if (cosine(i, j) > cosine(i, best)) best = j;
      }
      found.push_back({-cosine(i, best), {i, best}});
    }
    std::sort(found.begin(), found.end());
    found.resize(std::min(found.size(), static_cast<std::size_t>(counts[layer])));
    std::vector<std::vector<std::size_t>> into(n);
    std::vector<bool> gone(n, false);
    for (const auto& match : found) {
      into[match.second.second].push_back(match.second.first);
      gone[match.second.first] = true;
    }
    Doubles next;
    std::vector<std::vector<std::int32_t>> next_made_of;
    const auto add = [&](std::size_t i) {
      into[i].push_back(i);
      double size = 0;
      std::vector<std::int32_t> rows;
      for (const std::size_t s : into[i]) {
        size += static_cast<double>(r.made_of[s].size());
        rows.insert(rows.end(), r.made_of[s].begin(), r.made_of[s].end());
      }
      for (std::size_t c = 0; c < width; ++c) {
        double sum = 0;
        for (const std::size_t s : into[i]) {
          sum += static_cast<double>(r.made_of[s].size()) / size * x[s * width + c];
        }
        next.push_back(sum);
      }
      std::sort(rows.begin(), rows.end());
      next_made_of.push_back(std::move(rows));
    };
    if (counts[layer] > 0) {
      for (std::size_t i = 0; i < n; i += 2) {
        if (!gone[i]) add(i);
      }
      for (std::size_t i = 1; i < n; i += 2) add(i);
      x = std::move(next);
      r.made_of = std::move(next_made_of);
    }
    Doubles m = linear(norm("layer_norm2"), "mlp.fc1");
    for (double& value : m) value = reference_activation(config.activation, value);
    add_to(x, linear(m, "mlp.fc2"));
  }
  return r;
}

std::vector<std::vector<float>> some_pictures(const VitConfig& config, int count) {
  std::vector<std::vector<float>> pictures;
  for (int i = 0; i < count; ++i) {
    pictures.push_back(random_pixels(config, 300 + static_cast<std::uint64_t>(i)));
  }
  return pictures;
}

TEST(ToMeMerger, tokens_and_states_equal_an_eager_reference_in_any_batch) {
  const VitConfig config = tower_config();
  const Checkpoint checkpoint = random_checkpoint(config, 60);
  const auto loaded = load(checkpoint, config, LinearDType::f32, 4);
  ASSERT_TRUE(loaded->encoder);
  const auto pictures = some_pictures(config, 3);
  for (const bool proportional : {true, false}) {
    ToMeSettings settings;
    settings.merges = {4, 0, 6, 3};
    settings.proportional = proportional;
    auto merger = ToMeMerger::create(settings, *loaded->encoder);
    ASSERT_TRUE(merger);
    VitHooks hooks;
    hooks.merger = &*merger;
    const BatchRun batch = run_batch(*loaded->encoder, pictures, hooks);
    ASSERT_FALSE(batch.error) << batch.error->to_string();
    for (std::size_t p = 0; p < pictures.size(); ++p) {
      const Reference wanted =
          reference_tome(config, checkpoint, pictures[p], {4, 0, 6, 3}, proportional);
      EXPECT_EQ(merger->members(static_cast<std::int64_t>(p)), wanted.made_of);
      const auto states = std::span(batch.states)
                              .subspan(index_of(batch.rows.first(static_cast<std::int64_t>(p)) *
                                                config.hidden_size),
                                       wanted.states.size());
      EXPECT_TRUE(close_to(states, wanted.states, 2e-5));
    }
    EXPECT_EQ(merger->records()[0].tokens_entering, (std::vector<std::int64_t>{26, 22, 22, 16}));
    EXPECT_EQ(merger->records()[0].tokens_after_attention,
              (std::vector<std::int64_t>{22, 22, 16, 13}));
    ASSERT_EQ(merger->records()[0].stages.size(), 3U) << "one for each block that merged";
    EXPECT_EQ(merger->records()[0].stages[2].tokens(), 12);
  }
}

TEST(ToMeMerger, merging_none_is_the_plain_vit_to_the_bit) {
  const VitConfig config = tower_config();
  const auto loaded = load(random_checkpoint(config, 61), config, LinearDType::f32, 4);
  ASSERT_TRUE(loaded->encoder);
  const auto pictures = some_pictures(config, 2);
  auto merger = ToMeMerger::create({}, *loaded->encoder);
  ASSERT_TRUE(merger);
  VitHooks hooks;
  hooks.merger = &*merger;
  EXPECT_TRUE(same_bits(run_batch(*loaded->encoder, pictures, hooks).states,
                        run_batch(*loaded->encoder, pictures).states));
  EXPECT_TRUE(merger->records()[0].stages.empty());
}

TEST(ToMeMerger, a_tower_hands_on_tokens_in_the_order_of_their_first_sources) {
  const VitConfig config = tower_config();
  const Checkpoint checkpoint = random_checkpoint(config, 62);
  const auto loaded = load(checkpoint, config, LinearDType::f32, 4);
  ASSERT_TRUE(loaded->encoder);
  const std::vector<float> pixels = random_pixels(config, 400);
  ToMeSettings settings;
  settings.keep = 0.4;  // 10 of 25 patches
  const auto pruner = tome_tower_pruner(settings, "tome:keep=0.4");
  EXPECT_EQ(pruner->name(), "tome:keep=0.4");
  Context context;
  const auto left = pruner->run(context, *loaded->encoder, pixels_of(config, pixels).view());
  ASSERT_TRUE(left) << left.error().to_string();
  ASSERT_EQ(left->rows.size(), 11U);
  EXPECT_EQ(left->rows.front(), 0) << "the class token";
  EXPECT_TRUE(std::is_sorted(left->rows.begin(), left->rows.end()));
  const Reference wanted = reference_tome(config, checkpoint, pixels, {4, 4, 4, 3}, true);
  std::vector<std::int32_t> seen;
  for (std::size_t i = 0; i < left->rows.size(); ++i) {
    std::vector<std::int32_t> made_of{left->rows[i]};
    const auto merged = left->merged.find(static_cast<std::int32_t>(i));
    if (merged != left->merged.end()) made_of = merged->second;
    EXPECT_EQ(made_of.front(), left->rows[i]) << "it stands in the cell of its first source";
    const auto same = std::find(wanted.made_of.begin(), wanted.made_of.end(), made_of);
    ASSERT_NE(same, wanted.made_of.end());
    const std::size_t width = index_of(config.hidden_size);
    const Doubles states(
        wanted.states.begin() + (same - wanted.made_of.begin()) * config.hidden_size,
        wanted.states.begin() + (same - wanted.made_of.begin() + 1) * config.hidden_size);
    EXPECT_TRUE(close_to(values_of(left->hidden).subspan(i * width, width), states, 2e-5));
    seen.insert(seen.end(), made_of.begin(), made_of.end());
  }
  std::sort(seen.begin(), seen.end());
  std::vector<std::int32_t> all(26);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(seen, all) << "every patch is in one token";
}

TEST(ToMeMerger, does_not_share_a_pass_with_watchers) {
  const VitConfig config = tower_config();
  const auto loaded = load(random_checkpoint(config, 63), config, LinearDType::f32, 4);
  auto merger = ToMeMerger::create({}, *loaded->encoder);
  ASSERT_TRUE(merger);
  VitHooks hooks;
  hooks.merger = &*merger;
  hooks.observer = [](Context&, const VitBlockView&) -> Status { return {}; };
  EXPECT_TRUE(run_batch(*loaded->encoder, some_pictures(config, 1), hooks).error);
}

}  // namespace
}  // namespace fovea
