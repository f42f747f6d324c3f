#include "kernels/ops/random/random_cuda.h"

#include <algorithm>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/random/uniform.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void uniform_kernel(T* values, std::int64_t count, float range, std::uint64_t seed) {
  for (std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * kThreads) {
    values[i] = store_float<T>(uniform_number(seed, static_cast<std::uint64_t>(i)) * range);
  }
}

}  // namespace

Status fill_uniform_cuda(Context& context, TensorView block, float range, std::uint64_t seed) {
  const std::int64_t count = block.shape.elements();
  if (count == 0) return {};
  return with_float_type(block.dtype, [&](auto type) -> Status {
    using T = typename decltype(type)::type;
    const auto blocks =
        static_cast<unsigned>(std::min<std::int64_t>((count + kThreads - 1) / kThreads, 4096));
    uniform_kernel<T><<<blocks, kThreads, 0, stream_of(context)>>>(reinterpret_cast<T*>(block.data),
                                                                   count, range, seed);
    FOVEA_LAUNCH_CHECK("fill_uniform");
    return {};
  });
}

}  // namespace fovea
