#pragma once
// Work on a GPU that is recorded once and replayed with one call.

#include <functional>
#include <memory>

#include "kernels/context.h"

namespace fovea {

class Graph {
 public:
  /// Runs `work` once, so that its kernels are loaded and its scratch memory has its size, and then
  /// records what it orders. Doing it twice must be no different from doing it once. Scratch memory
  /// comes from `workspace`, which must outlive the graph: its blocks never move, so that what was
  /// recorded stays valid. Nothing in them lasts from one run to the next. Graphs that are launched
  /// one after another on one context may share it; what may run beside them may not use it. The
  /// work may neither wait for the device nor send arrays from the host. Errors: unsupported on the
  /// CPU, device, those of `work`.
  static Result<Graph> record(Context& context, Workspace& workspace,
                              const std::function<Status()>& work);

  Graph() = default;
  bool empty() const { return impl_ == nullptr; }
  /// Runs it in the order of the context's stream. Errors: device.
  Status launch(Context& context) const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fovea
