#pragma once
// What a GPU tells the host while it goes on: moments in its work, and small results.

#include <cstdint>
#include <memory>
#include <span>

#include "kernels/context.h"

namespace fovea {

/// A moment in the order of a context's work. On the CPU, where work is done when a call returns,
/// the moment at which it was marked.
class Milestone {
 public:
  static Result<Milestone> mark(Context& context);

  Milestone() = default;
  /// Milliseconds from an earlier milestone of the same device to this one. Waits until this one
  /// has passed. Errors: device.
  Result<double> ms_since(const Milestone& earlier) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// Numbers that leave a device in the order of its work, without anybody waiting for them yet.
class Arriving {
 public:
  /// numbers: i32 [n], where the context computes; they may be overwritten by later work. Errors:
  /// usage, out_of_memory, device.
  static Result<Arriving> start(Context& context, ConstTensorView numbers);

  Arriving() = default;
  /// Waits until they are here; they stay as long as this does. Errors: device.
  Result<std::span<const std::int32_t>> wait() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace fovea
