#include "kernels/ops/rows/rows_cuda.h"

#include <algorithm>
#include <cmath>

#include "kernels/copy.h"
#include "kernels/cuda/rank.cuh"
#include "kernels/cuda/runtime.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;
constexpr int kArgThreads = 1024;

__global__ void gather_columns_kernel(const float* from, std::int64_t from_stride,
                                      const std::int32_t* columns, int count, float* to,
                                      std::int64_t to_stride) {
  const int i = blockIdx.x * kThreads + threadIdx.x;
  if (i < count) to[blockIdx.y * to_stride + i] = from[blockIdx.y * from_stride + columns[i]];
}

__global__ void scatter_rows_kernel(const float* from, std::int64_t from_stride,
                                    const std::int32_t* rows, float* to, std::int64_t to_stride,
                                    int width) {
  const float* source = from + blockIdx.x * from_stride;
  float* target = to + rows[blockIdx.x] * to_stride;
  for (int i = threadIdx.x; i < width; i += kThreads) target[i] = source[i];
}

/// A block a row: a vocabulary is read in a few microseconds.
__global__ __launch_bounds__(kArgThreads) void largest_index_kernel(const float* rows,
                                                                    std::int64_t stride, int count,
                                                                    std::int32_t* index) {
  const float* const values = rows + blockIdx.x * stride;
  const int found = place_of_largest<kArgThreads>(values, count);
  if (threadIdx.x != 0) return;
  const float value = values[found];
  index[blockIdx.x] = isnan(value) || isinf(value) ? -1 : found;
}

__global__ void next_tokens_kernel(const std::int32_t* choices, int count, std::int32_t* tokens) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) tokens[i] = max(choices[i], 0);
}

}  // namespace

Status gather_columns_cuda(Context& context, ConstTensorView from,
                           std::span<const std::int32_t> columns, TensorView to) {
  if (to.shape.elements() == 0) return {};
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const std::int32_t* const here, upload(context, columns));
  const auto count = static_cast<int>(columns.size());
  gather_columns_kernel<<<dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads),
                               static_cast<unsigned>(from.rows())),
                          kThreads, 0, stream_of(context)>>>(
      from.as<float>(), from.row_stride, here, count, to.as<float>(), to.row_stride);
  FOVEA_LAUNCH_CHECK("gather_columns");
  return {};
}

Status scatter_rows_cuda(Context& context, ConstTensorView from, std::span<const std::int32_t> rows,
                         TensorView to) {
  if (from.shape.elements() == 0) return {};
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const std::int32_t* const here, upload(context, rows));
  scatter_rows_kernel<<<static_cast<unsigned>(rows.size()), kThreads, 0, stream_of(context)>>>(
      from.as<float>(), from.row_stride, here, to.as<float>(), to.row_stride,
      static_cast<int>(to.shape[1]));
  FOVEA_LAUNCH_CHECK("scatter_rows");
  return {};
}

Status largest_index_to(Context& context, ConstTensorView values, TensorView index) {
  const auto rows = static_cast<unsigned>(values.shape.rank() == 2 ? values.rows() : 1);
  const auto count = static_cast<int>(values.shape.elements() / rows);
  largest_index_kernel<<<rows, kArgThreads, 0, stream_of(context)>>>(
      values.as<float>(), rows > 1 ? values.row_stride : count, count, index.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("largest_index");
  return {};
}

Status next_tokens_cuda(Context& context, ConstTensorView choices, TensorView tokens) {
  const auto count = static_cast<int>(choices.rows());
  if (count == 0) return {};
  next_tokens_kernel<<<(count + 127) / 128, 128, 0, stream_of(context)>>>(
      choices.as<std::int32_t>(), count, tokens.as<std::int32_t>());
  FOVEA_LAUNCH_CHECK("next_tokens");
  return {};
}

Result<std::int32_t> largest_index_cuda(Context& context, ConstTensorView values) {
  Workspace::Scope scope(context.workspace);
  FOVEA_TRY(const TensorView index, context.workspace.take({1}, DType::i32));
  FOVEA_CHECK(largest_index_to(context, values, index));
  std::int32_t found = -1;
  FOVEA_CHECK(
      copy(context, index, TensorView(reinterpret_cast<std::byte*>(&found), DType::i32, {1})));
  return found;
}

}  // namespace fovea
