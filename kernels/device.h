#pragma once
// Which devices this machine offers, and a Context on one of them.

#include <cstddef>
#include <string>

#include "kernels/context.h"

namespace fovea {

/// Whether this build can use NVIDIA GPUs at all.
bool built_with_cuda();

/// GPUs that the driver offers and this build has code for; 0 without driver or CUDA build.
int cuda_device_count();

struct DeviceInfo {
  std::string name;             // "NVIDIA H100 80GB HBM3"
  std::size_t total_bytes = 0;  // memory of the device
  std::size_t free_bytes = 0;   // of it, not taken by any program
  int multiprocessors = 0;
  int compute_major = 0, compute_minor = 0;
};

/// Errors: device, with the remedy, when there is no such GPU or the driver refuses.
Result<DeviceInfo> cuda_device_info(int index);

/// Bytes of the GPU's memory that this process has taken for blocks, in use or kept for reuse; 0
/// without CUDA.
std::size_t cuda_bytes_held(int index);

/// A context on `device`. On a GPU it has a stream, device memory as workspace, and a host part
/// (Context::host()) with `threads` threads. Errors: device, out_of_memory.
Result<Context> make_context(Device device, int threads);

/// The first GPU where there is a usable one, else the CPU: what --device auto takes.
Device best_device();

/// "cpu", "cuda:0".
std::string device_name(Device device);

}  // namespace fovea
