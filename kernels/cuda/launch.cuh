#pragma once
// Kernels that may be made ready while the one before them still runs: on Hopper the launch, and
// what a kernel does before wait_for_previous(), overlap with the end of its predecessor.

#include <cuda_runtime.h>

#include <utility>

#include "kernels/cuda/runtime.h"

namespace fovea {

/// Everything earlier in the stream is done and visible. Before it a kernel may read only what no
/// earlier work of the stream writes: weights.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// The next kernel may be made ready from here on, as room becomes free.
__device__ __forceinline__ void let_next_prepare() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Launches a kernel that calls wait_for_previous() before it touches anything else, in clusters of
/// `cluster` blocks along x.
template <class... Parameters, class... Arguments>
Status launch_early_in_clusters(cudaStream_t stream, const char* name, void (*kernel)(Parameters...), dim3 grid,
                                dim3 block, std::size_t shared_bytes, int cluster, Arguments&&... arguments) {
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(cluster);
  attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t launch{};
  launch.gridDim = grid;
  launch.blockDim = block;
  launch.dynamicSmemBytes = shared_bytes;
  launch.stream = stream;
  launch.attrs = attributes;
  launch.numAttrs = cluster > 1 ? 2 : 1;
  const cudaError_t code =
      cudaLaunchKernelEx(&launch, kernel, static_cast<Parameters>(arguments)...);
  if (code != cudaSuccess) return cuda_error(code, name);
  return {};
}

template <class... Parameters, class... Arguments>
Status launch_early(cudaStream_t stream, const char* name, void (*kernel)(Parameters...), dim3 grid,
                    dim3 block, std::size_t shared_bytes, Arguments&&... arguments) {
  return launch_early_in_clusters(stream, name, kernel, grid, block, shared_bytes, 1,
                                  std::forward<Arguments>(arguments)...);
}

template <class... Parameters, class... Arguments>
Status launch_early(Context& context, const char* name, void (*kernel)(Parameters...), dim3 grid,
                    dim3 block, std::size_t shared_bytes, Arguments&&... arguments) {
  return launch_early(stream_of(context), name, kernel, grid, block, shared_bytes,
                      std::forward<Arguments>(arguments)...);
}

}  // namespace fovea
