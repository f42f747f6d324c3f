#include "kernels/ops/patches/patches_cuda.h"

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/runtime.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;

/// One block a patch.
template <class T>
__global__ __launch_bounds__(kThreads) void cut_patches_kernel(const float* pixels, int channels,
                                                               int side, int patch, T* patches,
                                                               std::int64_t stride) {
  const int grid = side / patch;
  const int top = blockIdx.x / grid * patch, left = blockIdx.x % grid * patch;
  const int area = patch * patch;
  for (int i = threadIdx.x; i < channels * area; i += kThreads) {
    const int channel = i / area, y = i % area / patch, x = i % patch;
    patches[blockIdx.x * stride + i] = store_float<T>(
        pixels[(static_cast<std::int64_t>(channel) * side + top + y) * side + left + x]);
  }
}

}  // namespace

Status cut_patches_cuda(Context& context, ConstTensorView pixels, std::int64_t patch,
                        TensorView patches) {
  return with_float_type(patches.dtype, [&](auto type) -> Status {
    using T = typename decltype(type)::type;
    cut_patches_kernel<T>
        <<<static_cast<unsigned>(patches.rows()), kThreads, 0, stream_of(context)>>>(
            pixels.as<float>(), static_cast<int>(pixels.shape[0]),
            static_cast<int>(pixels.shape[1]), static_cast<int>(patch),
            reinterpret_cast<T*>(patches.data), patches.row_stride);
    FOVEA_LAUNCH_CHECK("cut_patches");
    return {};
  });
}

}  // namespace fovea
