#pragma once
// Which token comes next: greedy, or drawn at random with temperature and nucleus (top-p) sampling
// (arXiv 1904.09751).

#include <cstdint>
#include <span>

#include "kernels/base/error.h"
#include "kernels/ops/draw/draw.h"

namespace fovea {

struct SamplingOptions {
  double temperature = 0;  // 0: greedy; else logits are divided by it, at most 100
  double top_p = 1;        // in (0, 1]: only the likeliest tokens whose mass reaches it; 1: all
  std::uint64_t seed = 0;
  int max_new_tokens = 512;  // for the loop around the sampler, at least 1
  int min_new_tokens = 0;    // for that loop too: no end token before so many others
};

/// Errors: usage, naming the option at fault.
Status validate(const SamplingOptions& options);

/// Draws one token per step. The random numbers come from an own generator (splitmix64), because
/// the standard library leaves its distributions to each implementation: the same seed and the
/// same logits give the same tokens everywhere.
class Sampler {
 public:
  /// Errors: usage, as validate().
  static Result<Sampler> create(const SamplingOptions& options);

  /// Index of the chosen token. Greedy takes the lowest index among equals and uses up no random
  /// number; every other call uses exactly one. A token with a logit of minus infinity is never
  /// chosen. Errors: internal, naming the step, for no logits at all, a NaN, plus infinity, or
  /// nothing but minus infinity.
  Result<std::int32_t> sample(std::span<const float> logits);

  /// How the next token is drawn where the logits are not on the host; uses up what sample() would.
  Draw next_draw();

 private:
  explicit Sampler(const SamplingOptions& options) : options_(options), state_(options.seed) {}
  double uniform();  // in [0, 1)

  SamplingOptions options_;
  std::uint64_t state_;
  std::int64_t step_ = 0;
  DrawScratch scratch_;
};

}  // namespace fovea
