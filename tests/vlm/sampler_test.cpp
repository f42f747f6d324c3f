#include "vlm/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace fovea {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Sampler sampler_of(const SamplingOptions& options) {
  Result<Sampler> sampler = Sampler::create(options);
  EXPECT_TRUE(sampler) << sampler.error().to_string();
  return *sampler;
}

std::int32_t draw(Sampler& sampler, const std::vector<float>& logits) {
  const Result<std::int32_t> token = sampler.sample(logits);
  EXPECT_TRUE(token) << token.error().to_string();
  return token ? *token : -1;
}

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

TEST(Sampler, greedy_takes_the_lowest_index_among_equals) {
  Sampler sampler = sampler_of({});
  EXPECT_EQ(draw(sampler, {1.0f, 3.0f, 3.0f, -2.0f}), 1);
  EXPECT_EQ(draw(sampler, {0.0f, 0.0f}), 0);
  EXPECT_EQ(draw(sampler, {-kInfinity, -1e30f}), 1);
}

TEST(Sampler, random_numbers_are_those_of_splitmix64) {
  // The published first outputs of splitmix64 for seed 1234567, divided by 2^64 and scaled to
  // 1000 tokens of equal weight.
  Sampler sampler = sampler_of({.temperature = 1, .seed = 1234567});
  const std::vector<float> logits(1000, 0.25f);
  std::vector<std::int32_t> tokens;
  for (int step = 0; step < 5; ++step) tokens.push_back(draw(sampler, logits));
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{350, 173, 532, 249, 889}));
}

TEST(Sampler, same_seed_gives_the_same_tokens_and_another_seed_others) {
  std::vector<float> logits(500);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = std::sin(static_cast<float>(i)) * 3.0f;
  }
  const auto run = [&logits](std::uint64_t seed) {
    Sampler sampler = sampler_of({.temperature = 0.8, .top_p = 0.9, .seed = seed});
    std::vector<std::int32_t> tokens;
    for (int step = 0; step < 64; ++step) tokens.push_back(draw(sampler, logits));
    return tokens;
  };
  EXPECT_EQ(run(7), run(7));
  EXPECT_NE(run(7), run(8));
}

TEST(Sampler, frequencies_follow_the_softmax_at_the_given_temperature) {
  const std::vector<float> logits{0.0f, 1.0f, 2.0f, -1.0f};
  for (const double temperature : {0.5, 1.0, 2.0}) {
    std::vector<double> expected;
    double total = 0;
    for (const float logit : logits) total += std::exp(logit / temperature);
    for (const float logit : logits) expected.push_back(std::exp(logit / temperature) / total);

    constexpr int kDraws = 40000;
    std::vector<int> counts(logits.size());
    Sampler sampler = sampler_of({.temperature = temperature, .seed = 3});
    for (int i = 0; i < kDraws; ++i) ++counts[static_cast<std::size_t>(draw(sampler, logits))];
    for (std::size_t token = 0; token < logits.size(); ++token) {
      // Five standard deviations of a binomial count.
      const double spread = 5 * std::sqrt(expected[token] * (1 - expected[token]) / kDraws);
      EXPECT_NEAR(counts[token] / static_cast<double>(kDraws), expected[token], spread)
          << "token " << token << " at temperature " << temperature;
    }
  }
}

TEST(Sampler, nucleus_is_the_smallest_set_that_reaches_the_mass) {
  const std::vector<float> logits = logits_of({0.05, 0.5, 0.15, 0.3});
  const auto chosen = [&logits](double top_p) {
    Sampler sampler = sampler_of({.temperature = 1, .top_p = top_p, .seed = 11});
    std::set<std::int32_t> tokens;
    for (int i = 0; i < 4000; ++i) tokens.insert(draw(sampler, logits));
    return tokens;
  };
  EXPECT_EQ(chosen(0.01), (std::set<std::int32_t>{1}));
  EXPECT_EQ(chosen(0.49), (std::set<std::int32_t>{1}));
  EXPECT_EQ(chosen(0.51), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(chosen(0.79), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(chosen(0.81), (std::set<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(chosen(0.96), (std::set<std::int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(chosen(1.0), (std::set<std::int32_t>{0, 1, 2, 3}));
}

TEST(Sampler, nucleus_is_renormalised) {
  const std::vector<float> logits = logits_of({0.1, 0.6, 0.3});
  Sampler sampler = sampler_of({.temperature = 1, .top_p = 0.85, .seed = 5});
  constexpr int kDraws = 40000;
  int likeliest = 0;
  for (int i = 0; i < kDraws; ++i) likeliest += draw(sampler, logits) == 1;
  EXPECT_NEAR(likeliest / static_cast<double>(kDraws), 2.0 / 3.0, 0.012);
}

TEST(Sampler, equal_tokens_enter_the_nucleus_by_index) {
  const std::vector<float> logits(10, 0.0f);
  Sampler sampler = sampler_of({.temperature = 1, .top_p = 0.25, .seed = 2});
  std::set<std::int32_t> tokens;
  for (int i = 0; i < 2000; ++i) tokens.insert(draw(sampler, logits));
  EXPECT_EQ(tokens, (std::set<std::int32_t>{0, 1, 2}));
}

TEST(Sampler, a_vanishing_temperature_is_greedy_and_extremes_do_not_overflow) {
  Sampler cold = sampler_of({.temperature = 1e-300, .seed = 1});
  EXPECT_EQ(draw(cold, {1.0f, 2.0f, 1.5f}), 1);
  Sampler warm = sampler_of({.temperature = 1, .top_p = 0.5, .seed = 1});
  EXPECT_EQ(draw(warm, {-3e38f, 3e38f}), 1);
}

TEST(Sampler, minus_infinity_is_never_chosen) {
  Sampler sampler = sampler_of({.temperature = 100, .seed = 9});
  for (int i = 0; i < 500; ++i) {
    const std::int32_t token = draw(sampler, {-kInfinity, 0.0f, -kInfinity, 0.0f, -kInfinity});
    EXPECT_TRUE(token == 1 || token == 3) << token;
  }
}

TEST(Sampler, logits_that_are_no_numbers_are_an_error_that_names_the_step) {
  for (const double temperature : {0.0, 1.0}) {
    Sampler sampler = sampler_of({.temperature = temperature});
    draw(sampler, {0.0f});
    draw(sampler, {0.0f});
    const std::vector<std::vector<float>> bad{
        {0.0f, std::nanf(""), 1.0f}, {0.0f, kInfinity}, {-kInfinity, -kInfinity}, {}};
    int step = 2;
    for (const std::vector<float>& logits : bad) {
      const Result<std::int32_t> token = sampler.sample(logits);
      ASSERT_FALSE(token);
      EXPECT_EQ(token.error().code, ErrorCode::internal);
      EXPECT_NE(token.error().message.find("step " + std::to_string(step++)), std::string::npos)
          << token.error().message;
    }
  }
}

TEST(Sampler, options_out_of_range_are_usage_errors_that_name_the_option) {
  const double nan = std::nan("");
  const std::vector<std::pair<SamplingOptions, std::string>> cases{
      {{.temperature = -0.1}, "temperature"},
      {{.temperature = 100.5}, "temperature"},
      {{.temperature = nan}, "temperature"},
      {{.temperature = HUGE_VAL}, "temperature"},
      {{.top_p = 0}, "top_p"},
      {{.top_p = 1.01}, "top_p"},
      {{.top_p = nan}, "top_p"},
      {{.max_new_tokens = 0}, "max_new_tokens"},
      {{.max_new_tokens = -5}, "max_new_tokens"}};
  for (const auto& [options, field] : cases) {
    const Result<Sampler> sampler = Sampler::create(options);
    ASSERT_FALSE(sampler) << field;
    EXPECT_EQ(sampler.error().code, ErrorCode::usage);
    EXPECT_EQ(sampler.error().field, field);
  }
  EXPECT_TRUE(validate({.temperature = 100, .top_p = 1, .max_new_tokens = 1}));
}

}  // namespace
}  // namespace fovea
