#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/ops/common/checks.h"
#include "kernels/ops/draw/draw.h"
#include "kernels/ops/draw/draw_mass.h"
#include "kernels/ops/topk/topk.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/draw/draw_cuda.h"
#endif

namespace fovea {
namespace {

Error usage(const char* field, std::string message) {
  return make_error(ErrorCode::usage, std::move(message)).in_field(field);
}

Status check(const Context& context, ConstTensorView logits, ConstTensorView draws,
             ConstTensorView indices) {
  FOVEA_CHECK(check_f32_rank(context, "draw_indices logits", logits, 2));
  const std::int64_t rows = logits.shape[0];
  if (logits.shape[1] < 1 || logits.shape[1] > kMostDrawnFrom) {
    return usage("draw_indices logits", "expected 1 to " + std::to_string(kMostDrawnFrom) +
                                            " a row, found " + std::to_string(logits.shape[1]));
  }
  if (draws.dtype != DType::u8 || draws.shape != Shape{rows, sizeof(Draw)} ||
      !draws.contiguous() || draws.device != context.device) {
    return usage("draw_indices draws",
                 "expected one Draw a row, as bytes where the context computes");
  }
  if (indices.dtype != DType::i32 || indices.shape != Shape{rows} ||
      indices.device != context.device) {
    return usage("draw_indices indices", "expected one i32 a row where the context computes");
  }
  return {};
}

}  // namespace

std::int32_t draw_index(std::span<const float> logits, const Draw& draw, DrawScratch& scratch) {
  float largest = -std::numeric_limits<float>::infinity();
  for (const float logit : logits) {
    if (std::isnan(logit)) return -1;
    largest = std::max(largest, logit);
  }
  if (std::isinf(largest)) return -1;
  if (draw.temperature == 0.0) return arg_max(logits);

  std::vector<std::uint64_t>& masses = scratch.masses;
  std::vector<std::int32_t>& candidates = scratch.candidates;
  masses.resize(logits.size());
  candidates.clear();
  std::uint64_t total = 0;
  for (std::size_t index = 0; index < logits.size(); ++index) {
    masses[index] = drawn_mass(logits[index], largest, draw.temperature);
    total += masses[index];
    if (masses[index] > 0) candidates.push_back(static_cast<std::int32_t>(index));
  }

  // A heap gives the likeliest tokens in order without sorting a whole vocabulary: a nucleus is
  // mostly a handful of tokens.
  const auto less_likely = [&](std::int32_t a, std::int32_t b) {
    const float logit_a = logits[static_cast<std::size_t>(a)];
    const float logit_b = logits[static_cast<std::size_t>(b)];
    return logit_a != logit_b ? logit_a < logit_b : a > b;
  };
  std::uint64_t kept = total;
  if (draw.top_p < 1.0) {
    const std::uint64_t enough = nucleus_target(total, draw.top_p);
    std::make_heap(candidates.begin(), candidates.end(), less_likely);
    auto heap_end = candidates.end();
    kept = 0;
    while (kept < enough) {
      std::pop_heap(candidates.begin(), heap_end, less_likely);
      kept += masses[static_cast<std::size_t>(*--heap_end)];
    }
    candidates.erase(candidates.begin(), heap_end);
    std::reverse(candidates.begin(), candidates.end());
  }

  const std::uint64_t target = drawn_target(kept, draw.uniform);
  std::uint64_t reached = 0;
  for (const std::int32_t token : candidates) {
    reached += masses[static_cast<std::size_t>(token)];
    if (reached >= target) return token;
  }
  return -1;  // not reached: the masses add up to `kept`
}

Status draw_indices(Context& context, ConstTensorView logits, ConstTensorView draws,
                    TensorView indices) {
  FOVEA_CHECK(check(context, logits, draws, indices));
  if (logits.shape[0] == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return draw_indices_cuda(context, logits, draws, indices);
#endif
  DrawScratch scratch;
  for (std::int64_t row = 0; row < logits.shape[0]; ++row) {
    indices.as<std::int32_t>()[row] =
        draw_index({logits.row<float>(row), static_cast<std::size_t>(logits.shape[1])},
                   reinterpret_cast<const Draw*>(draws.data)[row], scratch);
  }
  return {};
}

}  // namespace fovea
