#pragma once
// Drawing from a softmax with temperature and nucleus (top-p) sampling (arXiv 1904.09751).

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/context.h"

namespace fovea {

/// How one index is drawn. `uniform` is the random number that decides.
struct Draw {
  double temperature = 0.0;  // the logits are divided by it; 0: the largest is taken
  double top_p = 1.0;        // in (0, 1]: only the likeliest, until their mass reaches it; 1: all
  double uniform = 0.0;      // in [0, 1)
};

/// Draws of the host as draw_indices() takes them, u8 [n, sizeof(Draw)].
inline ConstTensorView draws_view(std::span<const Draw> draws) {
  return {reinterpret_cast<const std::byte*>(draws.data()),
          DType::u8,
          {static_cast<std::int64_t>(draws.size()), sizeof(Draw)}};
}

/// Logits of one row at most, so that sums of masses are exact.
inline constexpr std::int64_t kMostDrawnFrom = std::int64_t{1} << 20;

/// For each row of logits, f32 [rows, n], the index drawn as draws[row] says: indices, i32 [rows].
/// draws: u8 [rows, sizeof(Draw)]. All lie where the context computes, and the call can be recorded.
/// Among equal logits lower indices come first. Masses are integers, 2^42 exp((logit - largest) /
/// temperature) rounded, so that neither threads nor the order of a sum decide; a smaller mass than
/// half a unit is none. An index becomes -1 where a logit is NaN or plus infinity, or all are minus
/// infinity. Errors: usage (shapes, more than kMostDrawnFrom logits), out_of_memory, device.
Status draw_indices(Context& context, ConstTensorView logits, ConstTensorView draws,
                    TensorView indices);

/// What draw_index() keeps between calls, so that the next one allocates nothing.
struct DrawScratch {
  std::vector<std::uint64_t> masses;
  std::vector<std::int32_t> candidates;
};

/// The same for one row on the host; -1 also for no logits at all.
std::int32_t draw_index(std::span<const float> logits, const Draw& draw, DrawScratch& scratch);

}  // namespace fovea
