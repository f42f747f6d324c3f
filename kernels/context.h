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

/// Passed to every operation. Not thread-safe: one Context per running call.
struct Context {
  Device device;
  int threads = 1;
  Workspace workspace;
  /// Polled between operations by the loops above kernels/; null when nobody can cancel.
  const std::atomic<bool>* cancel = nullptr;

  bool cancelled() const { return cancel != nullptr && cancel->load(std::memory_order_relaxed); }
};

}  // namespace fovea
