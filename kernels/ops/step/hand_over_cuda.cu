#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/step/hand_over_cuda.h"

namespace fovea {
namespace {

constexpr int kThreads = 128;

/// One block.
__global__ __launch_bounds__(kThreads) void hand_over_kernel(std::int32_t* tokens, int count,
                                                             std::int32_t* counters,
                                                             int counter_count,
                                                             std::int32_t* outbox, int slots) {
  let_next_prepare();
  wait_for_previous();
  std::int32_t* const slot = outbox + static_cast<std::int64_t>(counters[0] % slots) * count;
  __syncthreads();  // everybody has read it
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const std::int32_t token = tokens[i];
    slot[i] = token;
    if (token < 0) tokens[i] = 0;
  }
  for (int i = threadIdx.x; i < counter_count; i += kThreads) ++counters[i];
}

}  // namespace

Status hand_over_cuda(Context& context, const HandOver& step) {
  return launch_early(context, "hand_over", hand_over_kernel, 1, kThreads, 0,
                      step.tokens.as<std::int32_t>(), static_cast<int>(step.tokens.shape[0]),
                      step.counters.as<std::int32_t>(), static_cast<int>(step.counters.shape[0]),
                      step.outbox.as<std::int32_t>(), static_cast<int>(step.outbox.shape[0]));
}

}  // namespace fovea
