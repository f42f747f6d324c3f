#pragma once
// The device part of kernels/fetch.h.

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/context.h"

namespace fovea {

class CudaMilestone {
 public:
  static Result<std::shared_ptr<const CudaMilestone>> mark(Context& context);
  explicit CudaMilestone(std::shared_ptr<CudaState> owner) : owner_(std::move(owner)) {}
  ~CudaMilestone();
  CudaMilestone(const CudaMilestone&) = delete;
  CudaMilestone& operator=(const CudaMilestone&) = delete;

  Status wait() const;
  Result<double> ms_since(const CudaMilestone& earlier) const;

 private:
  std::shared_ptr<CudaState> owner_;
  cudaEvent_t event_ = nullptr;
};

class CudaArriving {
 public:
  /// At least one number.
  static Result<std::shared_ptr<const CudaArriving>> start(Context& context,
                                                           ConstTensorView numbers);
  explicit CudaArriving(std::shared_ptr<CudaState> owner) : owner_(std::move(owner)) {}
  ~CudaArriving();
  CudaArriving(const CudaArriving&) = delete;
  CudaArriving& operator=(const CudaArriving&) = delete;

  Result<std::span<const std::int32_t>> wait() const;

 private:
  std::shared_ptr<CudaState> owner_;
  std::byte* slot_ = nullptr;          // pinned; null where there are too many numbers for one
  std::vector<std::int32_t> numbers_;  // of those
  std::size_t count_ = 0;
  std::shared_ptr<const CudaMilestone> arrival_;
};

/// Host memory that the device writes to.
class PinnedNumbers {
 public:
  PinnedNumbers() = default;
  ~PinnedNumbers();
  PinnedNumbers(const PinnedNumbers&) = delete;
  PinnedNumbers& operator=(const PinnedNumbers&) = delete;

  Status allocate(std::int64_t count);
  std::int32_t* get() const { return numbers_; }

 private:
  std::int32_t* numbers_ = nullptr;
};

}  // namespace fovea
