#include "vlm/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/ops/topk/topk.h"

namespace fovea {
namespace {

constexpr int kMaxNewTokens = 1'000'000;

Error bad_option(const char* name, const std::string& expected, const std::string& found) {
  return make_error(ErrorCode::usage, "expected " + expected + ", found " + found).in_field(name);
}

/// One step of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
std::uint64_t splitmix64(std::uint64_t& state) {
  state += 0x9E3779B97F4A7C15u;
  std::uint64_t mixed = state;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
  return mixed ^ (mixed >> 31);
}

}  // namespace

Status validate(const SamplingOptions& options) {
  if (!(options.temperature >= 0.0 && options.temperature <= 100.0)) {
    return bad_option("temperature", "a number from 0 to 100", std::to_string(options.temperature));
  }
  if (!(options.top_p > 0.0 && options.top_p <= 1.0)) {
    return bad_option("top_p", "a number above 0, at most 1", std::to_string(options.top_p));
  }
  if (options.max_new_tokens < 1 || options.max_new_tokens > kMaxNewTokens) {
    return bad_option("max_new_tokens", "a count from 1 to " + std::to_string(kMaxNewTokens),
                      std::to_string(options.max_new_tokens));
  }
  if (options.min_new_tokens < 0 || options.min_new_tokens > options.max_new_tokens) {
    return bad_option("min_new_tokens",
                      "a count from 0 to " + std::to_string(options.max_new_tokens),
                      std::to_string(options.min_new_tokens));
  }
  return {};
}

Result<Sampler> Sampler::create(const SamplingOptions& options) {
  FOVEA_CHECK(validate(options));
  return Sampler(options);
}

Result<std::int32_t> Sampler::sample(std::span<const float> logits) {
  const std::int64_t step = step_++;
  const auto refuse = [step](const std::string& what) {
    return make_error(ErrorCode::internal, what + " at step " + std::to_string(step));
  };
  if (logits.empty()) return refuse("no logits");
  float largest = -std::numeric_limits<float>::infinity();
  for (std::size_t index = 0; index < logits.size(); ++index) {
    if (std::isnan(logits[index]) || logits[index] == std::numeric_limits<float>::infinity()) {
      return refuse("the logit of token " + std::to_string(index) + " is not a number or infinite");
    }
    largest = std::max(largest, logits[index]);
  }
  if (largest == -std::numeric_limits<float>::infinity()) {
    return refuse("every logit is minus infinity");
  }
  return options_.temperature == 0.0 ? arg_max(logits) : draw(logits, largest);
}

double Sampler::uniform() {
  return static_cast<double>(splitmix64(state_) >> 11) * 0x1.0p-53;
}

std::int32_t Sampler::draw(std::span<const float> logits, float largest) {
  weights_.resize(logits.size());
  candidates_.clear();
  double total = 0.0;
  for (std::size_t index = 0; index < logits.size(); ++index) {
    const double distance = static_cast<double>(logits[index]) - static_cast<double>(largest);
    weights_[index] = std::exp(distance / options_.temperature);
    total += weights_[index];
    if (weights_[index] > 0.0) candidates_.push_back(static_cast<std::int32_t>(index));
  }

  // A heap gives the likeliest tokens in order without sorting a whole vocabulary: a nucleus is
  // mostly a handful of tokens.
  const auto less_likely = [this](std::int32_t a, std::int32_t b) {
    const double weight_a = weights_[static_cast<std::size_t>(a)];
    const double weight_b = weights_[static_cast<std::size_t>(b)];
    return weight_a != weight_b ? weight_a < weight_b : a > b;
  };
  double kept = total;
  if (options_.top_p < 1.0) {
    std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
    auto heap_end = candidates_.end();
    kept = 0.0;
    while (heap_end != candidates_.begin() && kept < options_.top_p * total) {
      std::pop_heap(candidates_.begin(), heap_end, less_likely);
      kept += weights_[static_cast<std::size_t>(*--heap_end)];
    }
    candidates_.erase(candidates_.begin(), heap_end);
    std::reverse(candidates_.begin(), candidates_.end());
  }

  double left = uniform() * kept;
  for (const std::int32_t token : candidates_) {
    left -= weights_[static_cast<std::size_t>(token)];
    if (left < 0.0) return token;
  }
  // Rounding of the running difference can leave a last hair of mass: it belongs to the last token.
  return candidates_.back();
}

}  // namespace fovea
