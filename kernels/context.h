#pragma once
// Where work runs: device, threads, scratch memory, and the user's wish to stop.

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/tensor.h"

namespace fovea {

/// Scratch memory that is taken and given back in stack order. Blocks never move, so views stay
/// valid until the Scope that took them ends; after the first pass nothing is allocated any more.
class Workspace {
 public:
  explicit Workspace(Device device = {}) : device_(device) {}

  class Scope {
   public:
    explicit Scope(Workspace& workspace)
        : workspace_(workspace), block_(workspace.block_), used_(workspace.used_) {}
    ~Scope() { workspace_.block_ = block_; workspace_.used_ = used_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    std::size_t block_, used_;
  };

  /// 64-byte aligned, not initialised. Errors: out_of_memory.
  Result<TensorView> take(Shape shape, DType dtype);
  /// Bytes held, used or not.
  std::size_t reserved_bytes() const;

 private:
  friend class Scope;
  Device device_;
  std::vector<Tensor> blocks_;
  std::size_t block_ = 0;  // block being filled
  std::size_t used_ = 0;   // bytes used of it
};

struct CudaState;  // stream and staging memory of one context, see kernels/cuda/

/// Passed to every operation. Not thread-safe: one Context per running call. A default one runs on
/// the CPU; make_context() (kernels/device.h) makes one on a GPU.
struct Context {
  Device device;
  int threads = 1;
  Workspace workspace;  // in the device's memory
  /// Polled between operations by the loops above kernels/; null when nobody can cancel.
  const std::atomic<bool>* cancel = nullptr;

  std::shared_ptr<CudaState> cuda;       // null on the CPU
  std::shared_ptr<Context> host_beside;  // null on the CPU

  /// What an operation's owner keeps for its next call here (a recorded graph); ends with the
  /// context.
  struct Kept {
    const void* owner = nullptr;
    std::shared_ptr<void> value;
  };
  Kept kept;

  bool on_cuda() const { return device.kind == DeviceKind::cuda; }
  /// The context for work that stays on the host: this one on the CPU.
  Context& host() {
    if (!host_beside) return *this;
    host_beside->cancel = cancel;
    return *host_beside;
  }
  bool cancelled() const { return cancel != nullptr && cancel->load(std::memory_order_relaxed); }
};

}  // namespace fovea
