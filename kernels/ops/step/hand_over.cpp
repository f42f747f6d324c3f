#include "kernels/ops/step/hand_over.h"

#include <algorithm>
#include <string>
#include <tuple>

#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/step/hand_over_cuda.h"
#endif

namespace fovea {

Status hand_over(Context& context, const HandOver& step) {
  for (const auto& [name, view, rank] : {std::tuple{"tokens", step.tokens, 1},
                                         {"counters", step.counters, 1},
                                         {"outbox", step.outbox, 2}}) {
    if (view.dtype != DType::i32 || view.shape.rank() != rank || view.shape.elements() < 1 ||
        !ConstTensorView(view).contiguous() || view.device != context.device) {
      return make_error(ErrorCode::usage, "expected contiguous i32 where the context computes")
          .in_field(std::string("hand_over ") + name);
    }
  }
  if (step.outbox.shape[1] != step.tokens.shape[0]) {
    return make_error(ErrorCode::usage, "a slot has room for other than all tokens")
        .in_field("hand_over outbox");
  }
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return hand_over_cuda(context, step);
#endif
  auto* const counters = step.counters.as<std::int32_t>();
  auto* const slot = step.outbox.row<std::int32_t>(counters[0] % step.outbox.shape[0]);
  auto* const tokens = step.tokens.as<std::int32_t>();
  for (std::int64_t i = 0; i < step.tokens.shape[0]; ++i) {
    slot[i] = tokens[i];
    tokens[i] = std::max(tokens[i], 0);
  }
  for (std::int64_t i = 0; i < step.counters.shape[0]; ++i) ++counters[i];
  return {};
}

}  // namespace fovea
