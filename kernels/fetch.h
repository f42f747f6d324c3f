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
  /// Waits until it has passed. Errors: internal when it was never marked, device.
  Status wait() const;
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

/// Numbers that work of a device writes, recorded work too, and the host reads once a milestone
/// behind that work has passed.
class Outbox {
 public:
  /// count: at least 1. Errors: out_of_memory, device.
  static Result<Outbox> create(Context& context, std::int64_t count);

  Outbox() = default;
  /// i32 [count], for the context's work to write.
  TensorView numbers() const;
  std::int32_t read(std::int64_t index) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace fovea
