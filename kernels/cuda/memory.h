#pragma once
// Device memory: blocks given back are kept for the next who asks, because asking the driver takes
// longer than most kernels. Only in builds with CUDA.

#include <cstddef>

#include "kernels/base/error.h"

namespace fovea {

/// At least `bytes`, aligned to 256. All work on a device runs in one stream (see runtime.h), so
/// that a block may be given back, and out again, while kernels that use it still wait. Errors:
/// out_of_memory, device.
Result<void*> cuda_allocate(std::size_t bytes, int device);
void cuda_release(void* block, std::size_t bytes, int device);

}  // namespace fovea
