// Builds without CUDA have nothing to record; kernels/cuda/graph_cuda.cpp has the rest.

#include "kernels/graph.h"

#ifndef FOVEA_WITH_CUDA

namespace fovea {

struct Graph::Impl {};

Result<Graph> Graph::record(Context&, Workspace&, const std::function<Status()>&) {
  return make_error(ErrorCode::unsupported, "the CPU records no work");
}

Status Graph::launch(Context&) const {
  return make_error(ErrorCode::unsupported, "the CPU replays no work");
}

}  // namespace fovea

#endif
