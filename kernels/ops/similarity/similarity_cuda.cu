#include "kernels/ops/similarity/similarity_cuda.h"

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/vector.cuh"

namespace fovea {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;

/// A warp has one row.
__global__ void __launch_bounds__(kThreads)
    normalize_kernel(const float* x, std::int64_t x_stride, float* y, std::int64_t y_stride, std::int64_t rows,
                     std::int64_t width) {
  const std::int64_t row = blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32;
  if (row >= rows) return;
  const float* const from = x + row * x_stride;
  float* const to = y + row * y_stride;
  double squares = 0.0;
  for (std::int64_t i = threadIdx.x % 32; i < width; i += 32) {
    squares += static_cast<double>(from[i]) * from[i];
  }
  squares = sum_of_warp(squares);
  const auto factor = static_cast<float>(squares > 0 ? 1.0 / sqrt(squares) : 0.0);
  for (std::int64_t i = threadIdx.x % 32; i < width; i += 32) to[i] = from[i] * factor;
}

struct Products {
  const float* a;
  const float* b;
  float* out;
  std::int64_t a_stride, b_stride, out_stride, a_rows, b_rows, width;
};

/// A warp has kSide x kSide products; its lanes share out the width, always alike, so that a product
/// rounds the same in tiles of any size and with a and b exchanged.
template <int kSide>
__global__ void __launch_bounds__(kThreads) products_kernel(const Products task) {
  const std::int64_t row = blockIdx.y * std::int64_t{kSide};
  const std::int64_t column = (blockIdx.x * std::int64_t{kWarps} + threadIdx.x / 32) * kSide;
  if (column >= task.b_rows) return;
  const float* a[kSide];
  const float* b[kSide];
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    a[i] = task.a + min(row + i, task.a_rows - 1) * task.a_stride;
    b[i] = task.b + min(column + i, task.b_rows - 1) * task.b_stride;
  }
  float sum[kSide][kSide] = {};
  for (std::int64_t k = threadIdx.x % 32; k < task.width; k += 32) {
    float left[kSide], right[kSide];
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
      left[i] = a[i][k];
      right[i] = b[i][k];
    }
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
#pragma unroll
      for (int j = 0; j < kSide; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
    }
  }
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      const float value = sum_of_warp(sum[i][j]);
      if (threadIdx.x % 32 == 0 && row + i < task.a_rows && column + j < task.b_rows) {
        task.out[(row + i) * task.out_stride + column + j] = value;
      }
    }
  }
}

template <int kSide>
Status launch_products(const Products& task, cudaStream_t stream) {
  const auto blocks = [](std::int64_t items, std::int64_t each) {
    return static_cast<unsigned>((items + each - 1) / each);
  };
  const dim3 grid(blocks(task.b_rows, kSide * kWarps), blocks(task.a_rows, kSide));
  products_kernel<kSide><<<grid, kThreads, 0, stream>>>(task);
  FOVEA_LAUNCH_CHECK("row products");
  return {};
}

}  // namespace

Status normalize_rows_cuda(Context& context, ConstTensorView x, TensorView y) {
  if (x.shape.elements() == 0) return {};
  const auto blocks = static_cast<unsigned>((x.rows() + kWarps - 1) / kWarps);
  normalize_kernel<<<blocks, kThreads, 0, stream_of(context)>>>(x.as<float>(), x.row_stride, y.as<float>(),
                                                                y.row_stride, x.rows(), x.shape[1]);
  FOVEA_LAUNCH_CHECK("normalize rows");
  return {};
}

Status row_products_cuda(Context& context, ConstTensorView a, ConstTensorView b, TensorView out) {
  if (out.shape.elements() == 0) return {};
  const Products task{a.as<float>(),  b.as<float>(), out.as<float>(), a.row_stride, b.row_stride,
                      out.row_stride, a.rows(),      b.rows(),        a.shape[1]};
  constexpr std::int64_t kFewRows = 2;
  return a.rows() <= kFewRows ? launch_products<1>(task, stream_of(context))
                              : launch_products<4>(task, stream_of(context));
}

}  // namespace fovea
