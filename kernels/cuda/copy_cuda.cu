#include "kernels/cuda/copy_cuda.h"

#include <algorithm>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/runtime.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;

template <class From, class To>
__global__ void convert_kernel(const From* from, std::int64_t from_stride, To* to,
                               std::int64_t to_stride, std::int64_t inner, std::int64_t count) {
  for (std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * kThreads) {
    const std::int64_t row = i / inner, column = i % inner;
    to[row * to_stride + column] = store_float<To>(load_float(from[row * from_stride + column]));
  }
}

bool on_host(ConstTensorView view) {
  return view.device.kind == DeviceKind::cpu;
}

}  // namespace

bool has_code_for_device(int index) {
  cudaFuncAttributes attributes{};
  const bool found =
      cudaSetDevice(index) == cudaSuccess &&
      cudaFuncGetAttributes(&attributes, convert_kernel<float, __half>) == cudaSuccess;
  cudaGetLastError();
  return found;
}

Status synchronize_cuda(Context& context) {
  FOVEA_CUDA_CHECK(cudaStreamSynchronize(stream_of(context)));
  return {};
}

Status copy_cuda(Context& context, ConstTensorView from, TensorView to) {
  const std::size_t element = dtype_size(from.dtype);
  const auto inner = static_cast<std::size_t>(from.inner_elements()) * element;
  const auto rows = static_cast<std::size_t>(from.rows());
  const cudaStream_t stream = stream_of(context);
  if (from.contiguous() && to.contiguous()) {
    if (on_host(from))
      return context.cuda->staging.upload(from.data, rows * inner, to.data, stream);
    FOVEA_CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, rows * inner, cudaMemcpyDefault, stream));
  } else {
    FOVEA_CUDA_CHECK(cudaMemcpy2DAsync(to.data, static_cast<std::size_t>(to.row_stride) * element,
                                       from.data,
                                       static_cast<std::size_t>(from.row_stride) * element, inner,
                                       rows, cudaMemcpyDefault, stream));
  }
  return on_host(from) || on_host(to) ? synchronize_cuda(context) : Status{};
}

Status convert_cuda(Context& context, ConstTensorView from, TensorView to) {
  Workspace::Scope scope(context.workspace);
  if (on_host(from)) {
    FOVEA_TRY(const TensorView here, context.workspace.take(from.shape, from.dtype));
    FOVEA_CHECK(copy_cuda(context, from, here));
    return convert_cuda(context, here, to);
  }
  if (on_host(to)) {
    FOVEA_TRY(const TensorView here, context.workspace.take(to.shape, to.dtype));
    FOVEA_CHECK(convert_cuda(context, from, here));
    return copy_cuda(context, here, to);
  }
  return with_float_type(from.dtype, [&](auto from_type) {
    return with_float_type(to.dtype, [&](auto to_type) -> Status {
      using From = typename decltype(from_type)::type;
      using To = typename decltype(to_type)::type;
      const std::int64_t count = from.shape.elements();
      const auto blocks =
          static_cast<unsigned>(std::min<std::int64_t>((count + kThreads - 1) / kThreads, 4096));
      convert_kernel<<<blocks, kThreads, 0, stream_of(context)>>>(
          reinterpret_cast<const From*>(from.data), from.row_stride, reinterpret_cast<To*>(to.data),
          to.row_stride, from.inner_elements(), count);
      FOVEA_LAUNCH_CHECK("convert");
      return {};
    });
  });
}

}  // namespace fovea
