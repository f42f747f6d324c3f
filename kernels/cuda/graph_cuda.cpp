#include <utility>

#include "kernels/cuda/runtime.h"
#include "kernels/graph.h"

namespace fovea {

struct Graph::Impl {
  cudaGraphExec_t runnable = nullptr;
  ~Impl() {
    if (runnable != nullptr) cudaGraphExecDestroy(runnable);
  }
};

namespace {

/// The context on a stream and workspace of its own, for as long as this lives.
class Aside {
 public:
  Aside(Context& context, Workspace& workspace, cudaStream_t stream)
      : context_(context),
        workspace_(workspace),
        stream_(std::exchange(context.cuda->stream, stream)) {
    std::swap(context_.workspace, workspace_);
  }
  ~Aside() {
    std::swap(context_.workspace, workspace_);
    context_.cuda->stream = stream_;
  }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;

 private:
  Context& context_;
  Workspace& workspace_;
  cudaStream_t stream_;
};

struct Stream {
  cudaStream_t stream = nullptr;
  ~Stream() {
    if (stream != nullptr) cudaStreamDestroy(stream);
  }
};

struct Recorded {
  cudaGraph_t graph = nullptr;
  ~Recorded() {
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
};

}  // namespace

Result<Graph> Graph::record(Context& context, Workspace& workspace,
                            const std::function<Status()>& work) {
  if (!context.on_cuda()) return make_error(ErrorCode::unsupported, "the CPU records no work");
  Stream own;
  FOVEA_CUDA_CHECK(cudaStreamCreateWithFlags(&own.stream, cudaStreamNonBlocking));
  Recorded recorded;
  {
    const Aside aside(context, workspace, stream_of(context));
    FOVEA_CHECK(work());
  }
  {
    const Aside aside(context, workspace, own.stream);
    FOVEA_CUDA_CHECK(cudaStreamBeginCapture(own.stream, cudaStreamCaptureModeRelaxed));
    const Status status = work();
    const cudaError_t ended = cudaStreamEndCapture(own.stream, &recorded.graph);
    if (!status) return status.error();
    FOVEA_CUDA_CHECK(ended);
  }
  Graph graph;
  graph.impl_ = std::make_shared<Impl>();
  FOVEA_CUDA_CHECK(cudaGraphInstantiate(&graph.impl_->runnable, recorded.graph, 0));
  return graph;
}

Status Graph::launch(Context& context) const {
  if (impl_ == nullptr) return make_error(ErrorCode::internal, "nothing was recorded");
  FOVEA_CUDA_CHECK(cudaGraphLaunch(impl_->runnable, stream_of(context)));
  return {};
}

}  // namespace fovea
