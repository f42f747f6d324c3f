#pragma once
// What operations need of CUDA: the stream, checks, and small arrays from the host. For the
// sources inside kernels/ alone, in builds with CUDA.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/context.h"

namespace fovea {

/// Pinned memory through which small arrays travel to the device, used round and round. A half is
/// written again only when its copies are done.
class StagingRing {
 public:
  StagingRing() = default;
  ~StagingRing();
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;

  /// Copies bytes to the device in stream order; `from` may be changed after the call.
  Status upload(const void* from, std::size_t bytes, void* to, cudaStream_t stream);

 private:
  /// Eight pictures of 640 x 480: those of the next pass may be sent while a tower works on this one.
  static constexpr std::size_t kHalf = std::size_t{8} << 20;
  Status start();

  std::byte* memory_ = nullptr;
  cudaEvent_t done_[2] = {};
  int half_ = 0;
  std::size_t used_ = 0;
};

/// Two pinned buffers by turns, for what is too large for the ring.
class LargeStaging {
 public:
  static constexpr std::size_t kBytes = std::size_t{32} << 20;

  LargeStaging() = default;
  ~LargeStaging();
  LargeStaging(const LargeStaging&) = delete;
  LargeStaging& operator=(const LargeStaging&) = delete;

  /// The next buffer, once its last copy is done; sent() after the copy from it was ordered.
  Result<std::byte*> next();
  Status sent(cudaStream_t stream);

 private:
  std::byte* buffers_[2] = {};
  cudaEvent_t done_[2] = {};
  int turn_ = 0;
};

/// Pinned blocks and events for results on their way to the host (kernels/fetch.h), used again and
/// again.
class ReturnSlots {
 public:
  static constexpr std::size_t kBytes = std::size_t{64} << 10;

  ReturnSlots() = default;
  ~ReturnSlots();
  ReturnSlots(const ReturnSlots&) = delete;
  ReturnSlots& operator=(const ReturnSlots&) = delete;

  Result<std::byte*> take_slot();
  void give_slot(std::byte* slot) { slots_.push_back(slot); }
  Result<cudaEvent_t> take_event();
  void give_event(cudaEvent_t event) { events_.push_back(event); }

 private:
  std::vector<std::byte*> slots_;
  std::vector<cudaEvent_t> events_;
};

/// Every context on a device shares one stream, so that their work, and the blocks they hand to
/// each other, are in order. A context that records a graph takes a stream of its own for that
/// time.
struct CudaState {
  cudaStream_t stream = nullptr;
  StagingRing staging;
  LargeStaging large;
  ReturnSlots returns;
  int multiprocessors = 0;
};

inline cudaStream_t stream_of(const Context& context) {
  return context.cuda->stream;
}

/// Why a call failed, as an Error with its remedy.
Error cuda_error(cudaError_t code, const char* what);

/// A copy of `values` in device memory, from the workspace: valid until its scope ends. Not while a
/// graph is recorded. Empty spans give a null pointer.
template <class T>
Result<const T*> upload(Context& context, std::span<const T> values) {
  if (values.empty()) return static_cast<const T*>(nullptr);
  const std::size_t bytes = values.size() * sizeof(T);
  FOVEA_TRY(const TensorView room,
            context.workspace.take({static_cast<std::int64_t>(bytes)}, DType::u8));
  FOVEA_CHECK(context.cuda->staging.upload(values.data(), bytes, room.data, stream_of(context)));
  return reinterpret_cast<const T*>(room.data);
}

}  // namespace fovea

/// Returns from the enclosing function when a call of the CUDA runtime fails.
#define FOVEA_CUDA_CHECK(call)                                              \
  do {                                                                      \
    if (const cudaError_t fovea_code = (call); fovea_code != cudaSuccess) { \
      return ::fovea::cuda_error(fovea_code, #call);                        \
    }                                                                       \
  } while (false)

/// After every kernel launch: returns when it was refused. `name` is the kernel's.
#define FOVEA_LAUNCH_CHECK(name)                                                        \
  do {                                                                                  \
    if (const cudaError_t fovea_code = cudaGetLastError(); fovea_code != cudaSuccess) { \
      return ::fovea::cuda_error(fovea_code, name);                                     \
    }                                                                                   \
  } while (false)
