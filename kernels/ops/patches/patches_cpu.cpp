#include <algorithm>

#include "kernels/base/parallel.h"
#include "kernels/ops/common/checks.h"
#include "kernels/ops/patches/patches.h"
#ifdef FOVEA_WITH_CUDA
#include "kernels/ops/patches/patches_cuda.h"
#endif

namespace fovea {

Status cut_patches(Context& context, ConstTensorView pixels, std::int64_t patch,
                   TensorView patches) {
  FOVEA_CHECK(check_f32_rank(context, "patches pixels", pixels, 3));
  const std::int64_t channels = pixels.shape[0], side = pixels.shape[1];
  if (patch < 1 || side % patch != 0 || pixels.shape[2] != side || !pixels.contiguous()) {
    return make_error(ErrorCode::usage, "pixels " + pixels.shape.to_string() +
                                            " have no whole patches of " + std::to_string(patch))
        .in_field("patches pixels");
  }
  const std::int64_t grid = side / patch;
  FOVEA_CHECK(
      check_activation_shape(context, "patches", patches, {grid * grid, channels * patch * patch}));
  if (patches.shape.elements() == 0) return {};
#ifdef FOVEA_WITH_CUDA
  if (context.on_cuda()) return cut_patches_cuda(context, pixels, patch, patches);
#endif
  parallel_for(context.threads, patches.rows(), grid, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t index = begin; index < end; ++index) {
      auto* out = patches.row<float>(index);
      const float* corner = pixels.as<float>() + index / grid * patch * side + index % grid * patch;
      for (std::int64_t channel = 0; channel < channels; ++channel) {
        for (std::int64_t y = 0; y < patch; ++y, out += patch) {
          std::copy_n(corner + (channel * side + y) * side, patch, out);
        }
      }
    }
  });
  return {};
}

}  // namespace fovea
