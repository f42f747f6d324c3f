#include "kernels/base/parallel.h"
#include "kernels/ops/common/checks.h"
#include "kernels/ops/random/random.h"
#include "kernels/ops/random/uniform.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/random/random_cuda.h"
#endif

namespace fovea {

Status fill_uniform(Context& context, TensorView block, float range, std::uint64_t seed) {
  FOVEA_CHECK(check_activation_shape(context, "fill_uniform block", block, block.shape));
  if (!block.contiguous())
    return make_error(ErrorCode::usage, "expected a contiguous block")
        .in_field("fill_uniform block");
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return fill_uniform_cuda(context, block, range, seed);
#endif
  parallel_for(
      context.threads, block.shape.elements(), 4096, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          block.as<float>()[i] = uniform_number(seed, static_cast<std::uint64_t>(i)) * range;
        }
      });
  return {};
}

}  // namespace fovea
