#include "kernels/cuda/runtime.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/cuda/copy_cuda.h"
#include "kernels/cuda/memory.h"
#include "kernels/device.h"

namespace fovea {

Error cuda_error(cudaError_t code, const char* what) {
  // A refused call leaves its code behind for the next one that asks.
  cudaGetLastError();
  const std::string text =
      std::string(what) + ": " + cudaGetErrorString(code) + " (" + cudaGetErrorName(code) + ")";
  switch (code) {
    case cudaErrorMemoryAllocation:
      return make_error(ErrorCode::out_of_memory, "no room on the GPU; " + text)
          .with_remedy(
              "End other programs on the GPU, use a smaller model or --dtype bf16, or --device "
              "cpu");
    case cudaErrorNoKernelImageForDevice:
      return make_error(ErrorCode::device, "this build has no code for this GPU; " + text)
          .with_remedy("Configure with -DFOVEA_CUDA_ARCHITECTURES for it, or use --device cpu");
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
      return make_error(ErrorCode::device, "no usable GPU; " + text)
          .with_remedy("Install or update NVIDIA's driver, or use --device cpu");
    default:
      return make_error(ErrorCode::device, text)
          .with_remedy("Try again; if it stays so, use --device cpu");
  }
}

// ---- Staging -----------------------------------------------------------------------------------

StagingRing::~StagingRing() {
  if (memory_ == nullptr) return;
  for (const cudaEvent_t event : done_) {
    cudaEventSynchronize(event);
    cudaEventDestroy(event);
  }
  cudaFreeHost(memory_);
}

Status StagingRing::start() {
  void* memory = nullptr;
  for (cudaEvent_t& event : done_) {
    FOVEA_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  }
  FOVEA_CUDA_CHECK(cudaMallocHost(&memory, 2 * kHalf));
  memory_ = static_cast<std::byte*>(memory);
  return {};
}

Status StagingRing::upload(const void* from, std::size_t bytes, void* to, cudaStream_t stream) {
  if (memory_ == nullptr) FOVEA_CHECK(start());
  const auto* source = static_cast<const std::byte*>(from);
  auto* target = static_cast<std::byte*>(to);
  for (std::size_t done = 0; done < bytes;) {
    // What fits into a whole half goes in one piece.
    const std::size_t piece = std::min(bytes - done, kHalf);
    if (used_ + piece > kHalf) {
      FOVEA_CUDA_CHECK(cudaEventRecord(done_[half_], stream));
      half_ ^= 1;
      used_ = 0;
      FOVEA_CUDA_CHECK(cudaEventSynchronize(done_[half_]));
    }
    std::byte* const place = memory_ + static_cast<std::size_t>(half_) * kHalf + used_;
    std::memcpy(place, source + done, piece);
    used_ += (piece + 63) / 64 * 64;
    FOVEA_CUDA_CHECK(cudaMemcpyAsync(target + done, place, piece, cudaMemcpyHostToDevice, stream));
    done += piece;
  }
  return {};
}

// ---- Memory ------------------------------------------------------------------------------------

namespace {

constexpr std::size_t kSmall = std::size_t{1}
                               << 20;  // below, several blocks share one of the driver's
constexpr std::size_t kSlabBlocks = 16;
constexpr std::size_t kUnit = std::size_t{2} << 20;  // what the driver rounds up to
constexpr std::size_t kLeast = 256;

std::size_t block_size(std::size_t bytes) {
  if (bytes > kSmall) return (bytes + kUnit - 1) / kUnit * kUnit;
  std::size_t size = kLeast;
  while (size < bytes) size *= 2;
  return size;
}

/// What one device keeps for reuse, and its stream. Never destroyed: at the end of a process the
/// driver may already be gone.
struct DevicePool {
  std::mutex mutex;
  std::map<std::size_t, std::vector<void*>> free;
  std::size_t held = 0;  // bytes taken from the driver
  cudaStream_t stream = nullptr;
};

DevicePool& pool_of(int device) {
  static std::mutex mutex;
  static auto& pools = *new std::map<int, DevicePool>();
  const std::lock_guard lock(mutex);
  return pools[device];
}

/// Gives large blocks back to the driver; slabs stay.
void trim(DevicePool& pool) {
  for (auto& [size, blocks] : pool.free) {
    if (size <= kSmall) continue;
    for (void* block : blocks) cudaFree(block);
    pool.held -= size * blocks.size();
    blocks.clear();
  }
}

cudaError_t ask_driver(DevicePool& pool, std::size_t bytes, void** block) {
  cudaError_t code = cudaMalloc(block, bytes);
  if (code != cudaErrorMemoryAllocation) return code;
  cudaGetLastError();
  trim(pool);
  return cudaMalloc(block, bytes);
}

}  // namespace

Result<void*> cuda_allocate(std::size_t bytes, int device) {
  DevicePool& pool = pool_of(device);
  const std::lock_guard lock(pool.mutex);
  const std::size_t size = block_size(bytes);
  std::vector<void*>& kept = pool.free[size];
  if (!kept.empty()) {
    void* block = kept.back();
    kept.pop_back();
    return block;
  }
  FOVEA_CUDA_CHECK(cudaSetDevice(device));
  void* block = nullptr;
  const std::size_t count = size <= kSmall ? kSlabBlocks : 1;
  if (const cudaError_t code = ask_driver(pool, size * count, &block); code != cudaSuccess) {
    return cuda_error(code, ("cudaMalloc of " + std::to_string(size * count) + " bytes").c_str());
  }
  pool.held += size * count;
  for (std::size_t i = count - 1; i > 0; --i)
    kept.push_back(static_cast<std::byte*>(block) + i * size);
  return block;
}

void cuda_release(void* block, std::size_t bytes, int device) {
  if (block == nullptr) return;
  DevicePool& pool = pool_of(device);
  const std::lock_guard lock(pool.mutex);
  pool.free[block_size(bytes)].push_back(block);
}

// ---- Devices -----------------------------------------------------------------------------------

std::size_t cuda_bytes_held(int index) {
  DevicePool& pool = pool_of(index);
  const std::lock_guard lock(pool.mutex);
  return pool.held;
}

bool built_with_cuda() {
  return true;
}

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  // One is worth nothing without code for it; those of one machine are mostly alike.
  return count > 0 && has_code_for_device(0) ? count : 0;
}

namespace {

Status check_index(int index) {
  int count = 0;
  FOVEA_CUDA_CHECK(cudaGetDeviceCount(&count));
  if (index >= 0 && index < count) return {};
  return make_error(ErrorCode::device, "there is no GPU " + std::to_string(index) +
                                           "; the driver offers " + std::to_string(count))
      .in_field("--device")
      .with_remedy(count > 0 ? "Use cuda:0 to cuda:" + std::to_string(count - 1)
                             : std::string("Use --device cpu"));
}

}  // namespace

Result<DeviceInfo> cuda_device_info(int index) {
  FOVEA_CHECK(check_index(index));
  cudaDeviceProp properties{};
  FOVEA_CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  FOVEA_CUDA_CHECK(cudaSetDevice(index));
  DeviceInfo info;
  FOVEA_CUDA_CHECK(cudaMemGetInfo(&info.free_bytes, &info.total_bytes));
  info.name = properties.name;
  info.multiprocessors = properties.multiProcessorCount;
  info.compute_major = properties.major;
  info.compute_minor = properties.minor;
  return info;
}

Status attach_cuda(Context& context) {
  FOVEA_CHECK(check_index(context.device.index));
  FOVEA_CUDA_CHECK(cudaSetDevice(context.device.index));
  DevicePool& pool = pool_of(context.device.index);
  const std::lock_guard lock(pool.mutex);
  if (pool.stream == nullptr) {
    FOVEA_CUDA_CHECK(cudaStreamCreateWithFlags(&pool.stream, cudaStreamNonBlocking));
  }
  context.cuda = std::make_shared<CudaState>();
  context.cuda->stream = pool.stream;
  FOVEA_CUDA_CHECK(cudaDeviceGetAttribute(&context.cuda->multiprocessors,
                                          cudaDevAttrMultiProcessorCount, context.device.index));
  return {};
}

}  // namespace fovea
