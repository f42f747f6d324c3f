#pragma once
// What fovea bench asks: pictures with something everywhere, and prompts of tokens around them.

#include <cstdint>
#include <vector>

#include "app/bench_run.h"
#include "pruning/visual_token.h"
#include "vision/image.h"

namespace fovea::app {

/// 640 x 480, the same for each seed each time.
Image bench_picture(std::uint32_t seed);

struct BenchPrompt {
  std::int64_t visual = 0;  // tokens of the picture (of random numbers without a tower)
  std::int64_t system = 0;  // tokens before it
  SequenceLayout layout;
  std::vector<std::int32_t> ids;  // of every token, those of the picture to be overwritten
};

/// Errors: usage (a prompt shorter than the picture, or longer than the context).
Result<BenchPrompt> make_bench_prompt(const LlavaModel& model, const BenchPlan& plan);

}  // namespace fovea::app
