#pragma once
// The end of a recorded decode step: what it chose becomes what the next step begins with, and goes
// to the host, which need not wait for it before it orders the next.

#include "kernels/context.h"

namespace fovea {

/// All i32, where the context computes.
struct HandOver {
  TensorView tokens;    // [n]: the choices, -1 where there is none
  TensorView counters;  // [m], m >= 1; the first counts the steps, from 0 on
  TensorView outbox;    // [slots, n]
};

/// outbox[counters[0] % slots] = tokens; then tokens become at least 0, so that a step may begin
/// with them, and every counter grows by one. Can be recorded. Errors: usage.
Status hand_over(Context& context, const HandOver& step);

}  // namespace fovea
