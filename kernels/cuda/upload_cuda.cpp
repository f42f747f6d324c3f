#include "kernels/cuda/upload.h"

#include <algorithm>
#include <cstring>

#include "kernels/base/parallel.h"
#include "kernels/copy.h"
#include "kernels/cuda/copy_cuda.h"
#include "kernels/cuda/runtime.h"

namespace fovea {

LargeStaging::~LargeStaging() {
  for (int i = 0; i < 2; ++i) {
    if (buffers_[i] == nullptr) continue;
    cudaEventSynchronize(done_[i]);
    cudaEventDestroy(done_[i]);
    cudaFreeHost(buffers_[i]);
  }
}

Result<std::byte*> LargeStaging::next() {
  turn_ ^= 1;
  if (buffers_[turn_] == nullptr) {
    void* memory = nullptr;
    FOVEA_CUDA_CHECK(cudaMallocHost(&memory, kBytes));
    FOVEA_CUDA_CHECK(cudaEventCreateWithFlags(&done_[turn_], cudaEventDisableTiming));
    buffers_[turn_] = static_cast<std::byte*>(memory);
  } else {
    FOVEA_CUDA_CHECK(cudaEventSynchronize(done_[turn_]));
  }
  return buffers_[turn_];
}

Status LargeStaging::sent(cudaStream_t stream) {
  FOVEA_CUDA_CHECK(cudaEventRecord(done_[turn_], stream));
  return {};
}

Status upload_large(Context& context, ConstTensorView from, TensorView to) {
  if (from.device.kind != DeviceKind::cpu) return convert(context, from, to);
  const std::size_t element = dtype_size(from.dtype);
  const auto count = static_cast<std::size_t>(from.shape.elements());
  const std::size_t step = LargeStaging::kBytes / element;
  const cudaStream_t stream = stream_of(context);
  LargeStaging& staging = context.cuda->large;
  Workspace::Scope scope(context.workspace);
  TensorView raw;  // what is to be converted arrives here
  if (from.dtype != to.dtype) {
    FOVEA_TRY(raw, context.workspace.take({static_cast<std::int64_t>(std::min(step, count))},
                                          from.dtype));
  }
  for (std::size_t done = 0; done < count; done += step) {
    const std::size_t here = std::min(step, count - done);
    FOVEA_TRY(std::byte* const pinned, staging.next());
    const std::byte* source = from.data + done * element;
    parallel_for(context.threads, static_cast<std::int64_t>(here * element), std::int64_t{1} << 20,
                 [&](std::int64_t begin, std::int64_t end) {
                   std::memcpy(pinned + begin, source + begin,
                               static_cast<std::size_t>(end - begin));
                 });
    std::byte* const place = raw.empty() ? to.data + done * element : raw.data;
    FOVEA_CUDA_CHECK(
        cudaMemcpyAsync(place, pinned, here * element, cudaMemcpyHostToDevice, stream));
    FOVEA_CHECK(staging.sent(stream));
    if (raw.empty()) continue;
    const Shape shape{static_cast<std::int64_t>(here)};
    FOVEA_CHECK(convert_cuda(
        context, ConstTensorView(raw.data, from.dtype, shape, context.device),
        TensorView(to.data + done * dtype_size(to.dtype), to.dtype, shape, context.device)));
  }
  return {};
}

}  // namespace fovea
