#include <algorithm>
#include <array>
#include <limits>

#include "kernels/cuda/runtime.h"
#include "kernels/ops/linear/cublaslt_library.h"

namespace fovea {
namespace {

constexpr std::size_t kRounds = 5;
constexpr std::int64_t kSlack = 512;  // room to place a block as the original lies
// A difference that timing cannot be trusted with leaves the library's own order.
constexpr float kNoise = 0.99f;

struct Events {
  std::array<cudaEvent_t, 2> at{};
  ~Events() {
    for (const cudaEvent_t event : at) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }
};

std::byte* placed(const Tensor& block, std::uint32_t alignment) {
  const auto address = (reinterpret_cast<std::uintptr_t>(block.view().data) + 255) / 256 * 256;
  return reinterpret_cast<std::byte*>(address + (alignment < 256 ? alignment : 0));
}

/// Copies of what a product touches, so that nothing of the caller's is written.
struct Scratch {
  Tensor x, y, workspace, flush;

  Status allocate(const ProductKey& key, Device device) {
    const auto take = [device](Tensor& block, std::int64_t bytes) -> Status {
      FOVEA_TRY(block, Tensor::allocate({bytes + kSlack}, DType::u8, device));
      return {};
    };
    const auto bytes = [&](std::int64_t stride, DType type) {
      return key.rows * stride * static_cast<std::int64_t>(dtype_size(type));
    };
    int cache = 0;
    FOVEA_CUDA_CHECK(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, device.index));
    FOVEA_CHECK(take(x, bytes(key.x_stride, key.x)));
    FOVEA_CHECK(take(y, bytes(key.y_stride, key.y)));
    FOVEA_CHECK(take(workspace, static_cast<std::int64_t>(kCublasWorkspaceBytes)));
    return take(flush, std::int64_t{2} * cache);
  }
};

/// The rows of x, again and again, until all of the bucket's are there.
Status fill(const ProductKey& bucket, ConstTensorView x, std::byte* to, cudaStream_t stream) {
  const std::size_t size = dtype_size(bucket.x);
  const std::size_t pitch = static_cast<std::size_t>(bucket.x_stride) * size;
  for (std::int64_t row = 0; row < bucket.rows; row += x.rows()) {
    const auto count = static_cast<std::size_t>(std::min(x.rows(), bucket.rows - row));
    FOVEA_CUDA_CHECK(cudaMemcpy2DAsync(to + static_cast<std::size_t>(row) * pitch, pitch, x.data,
                                       pitch, static_cast<std::size_t>(bucket.inputs) * size, count,
                                       cudaMemcpyDeviceToDevice, stream));
  }
  return {};
}

}  // namespace

Result<std::size_t> fastest_candidate(Context& context, cublasLtHandle_t handle,
                                      const ProductKey& bucket, const CublasProduct& described,
                                      ConstTensorView weight, ConstTensorView x,
                                      const std::vector<cublasLtMatmulAlgo_t>& candidates) {
  if (candidates.size() < 2) return std::size_t{0};
  Scratch scratch;
  if (const Status room = scratch.allocate(bucket, context.device); !room) {
    if (room.error().code == ErrorCode::out_of_memory) return std::size_t{0};
    return room.error();
  }
  const cudaStream_t stream = stream_of(context);
  std::byte* const x_copy = placed(scratch.x, bucket.x_alignment);
  std::byte* const y = placed(scratch.y, bucket.y_alignment);
  FOVEA_CHECK(fill(bucket, x, x_copy, stream));
  FOVEA_CUDA_CHECK(cudaMemsetAsync(scratch.y.view().data, 0, scratch.y.bytes(), stream));
  Events events;
  for (cudaEvent_t& event : events.at) FOVEA_CUDA_CHECK(cudaEventCreate(&event));

  const float one = 1.0f, beta = bucket.accumulate ? 1.0f : 0.0f;
  constexpr float kNever = std::numeric_limits<float>::max();
  std::vector<std::array<float, kRounds>> times(candidates.size());
  // Round by round, so that a change of the clock meets all alike; the first loads the kernels.
  for (std::size_t round = 0; round <= kRounds; ++round) {
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      // A weight comes from memory in a model, not from the cache.
      FOVEA_CUDA_CHECK(
          cudaMemsetAsync(scratch.flush.view().data, 0, scratch.flush.bytes(), stream));
      FOVEA_CUDA_CHECK(cudaEventRecord(events.at[0], stream));
      const cublasStatus_t status =
          cublasLtMatmul(handle, const_cast<cublasLtMatmulDescOpaque_t*>(&described.product), &one,
                         weight.data, const_cast<cublasLtMatrixLayoutOpaque_t*>(&described.weight),
                         x_copy, const_cast<cublasLtMatrixLayoutOpaque_t*>(&described.x), &beta, y,
                         const_cast<cublasLtMatrixLayoutOpaque_t*>(&described.y), y,
                         const_cast<cublasLtMatrixLayoutOpaque_t*>(&described.y), &candidates[i],
                         placed(scratch.workspace, 256), kCublasWorkspaceBytes, stream);
      FOVEA_CUDA_CHECK(cudaEventRecord(events.at[1], stream));
      FOVEA_CUDA_CHECK(cudaEventSynchronize(events.at[1]));
      float milliseconds = kNever;
      if (status == CUBLAS_STATUS_SUCCESS) {
        FOVEA_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, events.at[0], events.at[1]));
      }
      if (round > 0) times[i][round - 1] = milliseconds;
    }
  }
  std::size_t best = 0;
  float least = kNever;
  for (std::size_t i = 0; i < times.size(); ++i) {
    std::nth_element(times[i].begin(), times[i].begin() + kRounds / 2, times[i].end());
    const float median = times[i][kRounds / 2];
    if (median < (i == 0 ? kNever : kNoise * least)) {
      best = i;
      least = median;
    }
  }
  return best;
}

}  // namespace fovea
