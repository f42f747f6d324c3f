#include "kernels/ops/gather/gather_cuda.h"

#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/vector.cuh"

namespace fovea {
namespace {

constexpr int kThreads = 256;

/// A block copies one row; Piece is an element, or sixteen bytes where types and places allow.
template <class Piece>
__global__ void __launch_bounds__(kThreads)
    copy_rows_kernel(const Piece* from, std::int64_t from_stride, const std::int32_t* rows, Piece* to,
                     std::int64_t to_stride, std::int64_t width) {
  let_next_prepare();
  wait_for_previous();
  const Piece* const source = from + rows[blockIdx.x] * from_stride;
  Piece* const target = to + blockIdx.x * to_stride;
  for (std::int64_t c = threadIdx.x; c < width; c += kThreads) target[c] = source[c];
}

template <class From, class To>
__global__ void __launch_bounds__(kThreads)
    convert_rows_kernel(const From* from, std::int64_t from_stride, const std::int32_t* rows, To* to,
                        std::int64_t to_stride, std::int64_t width) {
  let_next_prepare();
  wait_for_previous();
  const From* const source = from + rows[blockIdx.x] * from_stride;
  To* const target = to + blockIdx.x * to_stride;
  for (std::int64_t c = threadIdx.x; c < width; c += kThreads) {
    target[c] = store_float<To>(load_float(source[c]));
  }
}

/// The same eight elements at a time.
template <class From, class To>
__global__ void __launch_bounds__(kThreads)
    convert_packs_kernel(const From* from, std::int64_t from_stride, const std::int32_t* rows,
                         To* to, std::int64_t to_stride, std::int64_t width) {
  let_next_prepare();
  wait_for_previous();
  const From* const source = from + rows[blockIdx.x] * from_stride;
  To* const target = to + blockIdx.x * to_stride;
  for (std::int64_t c = (blockIdx.y * kThreads + threadIdx.x) * 8; c < width;
       c += gridDim.y * kThreads * 8) {
    float values[8];
    load8(source + c, values);
    Pack<To, 8> pack;
#pragma unroll
    for (int i = 0; i < 8; ++i) pack.values[i] = store_float<To>(values[i]);
    *reinterpret_cast<Pack<To, 8>*>(target + c) = pack;
  }
}

/// Sums in float32, in the order of the sources.
template <class From, class To>
__global__ void __launch_bounds__(kThreads)
    merge_rows_kernel(const From* from, std::int64_t from_stride, const std::int32_t* offsets,
                      const std::int32_t* sources, const float* weights, To* to, std::int64_t to_stride,
                      std::int64_t width) {
  const std::int32_t begin = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
  To* const target = to + blockIdx.x * to_stride;
  for (std::int64_t c = threadIdx.x; c < width; c += kThreads) {
    float sum = 0.0f;
    for (std::int32_t s = begin; s < end; ++s) {
      sum = fmaf(weights[s], load_float(from[sources[s] * from_stride + c]), sum);
    }
    target[c] = store_float<To>(sum);
  }
}

bool in_pieces(const std::byte* data, std::int64_t row_stride, std::int64_t width, std::size_t element) {
  constexpr std::size_t kPiece = sizeof(uint4);
  return reinterpret_cast<std::uintptr_t>(data) % kPiece == 0 &&
         static_cast<std::size_t>(row_stride) * element % kPiece == 0 &&
         static_cast<std::size_t>(width) * element % kPiece == 0;
}

Status copy_whole_rows(Context& context, ConstTensorView from, const std::int32_t* rows, TensorView to) {
  const std::size_t element = dtype_size(from.dtype);
  const std::int64_t width = to.shape[1];
  const auto count = static_cast<unsigned>(to.rows());
  const auto launch = [&](auto kernel, auto source, std::int64_t from_stride, auto target,
                          std::int64_t to_stride, std::int64_t pieces) {
    return launch_early(context, "gather rows", kernel, count, kThreads, 0, source, from_stride,
                        rows, target, to_stride, pieces);
  };
  if (in_pieces(from.data, from.row_stride, width, element) &&
      in_pieces(to.data, to.row_stride, width, element)) {
    const auto per_piece = static_cast<std::int64_t>(sizeof(uint4) / element);
    return launch(copy_rows_kernel<uint4>, reinterpret_cast<const uint4*>(from.data),
                  from.row_stride / per_piece, reinterpret_cast<uint4*>(to.data),
                  to.row_stride / per_piece, width / per_piece);
  }
  if (element == sizeof(float)) {
    return launch(copy_rows_kernel<float>, reinterpret_cast<const float*>(from.data),
                  from.row_stride, reinterpret_cast<float*>(to.data), to.row_stride, width);
  }
  return launch(copy_rows_kernel<std::uint16_t>, reinterpret_cast<const std::uint16_t*>(from.data),
                from.row_stride, reinterpret_cast<std::uint16_t*>(to.data), to.row_stride, width);
}

}  // namespace

Status gather_rows_cuda(Context& context, ConstTensorView from, const std::int32_t* rows, TensorView to) {
  if (to.shape.elements() == 0) return {};
  if (from.dtype == to.dtype) return copy_whole_rows(context, from, rows, to);
  return with_float_type(from.dtype, [&](auto from_type) {
    return with_float_type(to.dtype, [&](auto to_type) -> Status {
      using From = typename decltype(from_type)::type;
      using To = typename decltype(to_type)::type;
      const std::int64_t width = to.shape[1];
      const auto launch = [&](auto kernel, unsigned parts) {
        return launch_early(context, "gather rows", kernel,
                            dim3(static_cast<unsigned>(to.rows()), parts), kThreads, 0,
                            reinterpret_cast<const From*>(from.data), from.row_stride, rows,
                            reinterpret_cast<To*>(to.data), to.row_stride, width);
      };
      const bool packed = width % 8 == 0 && from.row_stride % 8 == 0 && to.row_stride % 8 == 0 &&
                          in_pieces(from.data, 0, 0, 1) && in_pieces(to.data, 0, 0, 1);
      // A lone row is shared by several blocks.
      const auto parts = static_cast<unsigned>(
          to.rows() == 1
              ? std::max<std::int64_t>(1, std::min<std::int64_t>(width / (8 * kThreads), 8))
              : 1);
      return packed ? launch(convert_packs_kernel<From, To>, parts)
                    : launch(convert_rows_kernel<From, To>, 1);
    });
  });
}

Status merge_rows_cuda(Context& context, ConstTensorView from, const std::int32_t* offsets,
                       const std::int32_t* sources, const float* weights, TensorView to) {
  if (to.shape.elements() == 0) return {};
  return with_float_type(from.dtype, [&](auto from_type) {
    return with_float_type(to.dtype, [&](auto to_type) -> Status {
      using From = typename decltype(from_type)::type;
      using To = typename decltype(to_type)::type;
      merge_rows_kernel<<<static_cast<unsigned>(to.rows()), kThreads, 0, stream_of(context)>>>(
          reinterpret_cast<const From*>(from.data), from.row_stride, offsets, sources, weights,
          reinterpret_cast<To*>(to.data), to.row_stride, to.shape[1]);
      FOVEA_LAUNCH_CHECK("merge rows");
      return {};
    });
  });
}

}  // namespace fovea
