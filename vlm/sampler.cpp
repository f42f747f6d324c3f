#include "vlm/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

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
  const std::int64_t step = step_;
  const Draw how = next_draw();
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
  return draw_index(logits, how, scratch_);
}

Draw Sampler::next_draw() {
  ++step_;
  if (options_.temperature == 0.0) return {};
  return {options_.temperature, options_.top_p, uniform()};
}

double Sampler::uniform() {
  return static_cast<double>(splitmix64(state_) >> 11) * 0x1.0p-53;
}

}  // namespace fovea
