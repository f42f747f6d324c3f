#include "kernels/ops/activation/activation_cuda.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/ops/common/checks.h"

namespace fovea {
namespace {

constexpr int kThreads = 256;

/// x times the logistic function of s x. kFast: to 22 bits, for results that are rounded to 16.
template <bool kFast>
__device__ __forceinline__ float times_logistic(float x, float s) {
  if constexpr (kFast) return __fdividef(x, 1.0f + __expf(-s * x));
  return x / (1.0f + expf(-s * x));
}

template <bool kFast>
__device__ __forceinline__ float activated(Activation activation, float x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::gelu_erf:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case Activation::gelu_tanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case Activation::quick_gelu:
      return times_logistic<kFast>(x, 1.702f);
    case Activation::silu:
      return times_logistic<kFast>(x, 1.0f);
    case Activation::relu:
      return fmaxf(x, 0.0f);
  }
  return x;
}

template <class T>
struct Rows {
  T* data;
  std::int64_t stride;  // in elements
};

template <class T>
Rows<T> rows_of(TensorView view) {
  return {reinterpret_cast<T*>(view.data), view.rows() > 1 ? view.row_stride : 0};
}
template <class T>
Rows<const T> rows_of(ConstTensorView view) {
  return {reinterpret_cast<const T*>(view.data), view.rows() > 1 ? view.row_stride : 0};
}

/// out[i] = operation(a[i], b[i]): one block a row and kThreads packs of it.
template <int kCount, class A, class B, class Out, class Operation>
__global__ __launch_bounds__(kThreads) void zip_kernel(Rows<const A> a, Rows<const B> b,
                                                       Rows<Out> out, int packs,
                                                       Operation operation) {
  let_next_prepare();
  wait_for_previous();
  const int pack = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  if (pack >= packs) return;
  const std::int64_t row = blockIdx.x, column = std::int64_t{pack} * kCount;
  const auto left = *reinterpret_cast<const Pack<A, kCount>*>(a.data + row * a.stride + column);
  const auto right = *reinterpret_cast<const Pack<B, kCount>*>(b.data + row * b.stride + column);
  Pack<Out, kCount> result;
#pragma unroll
  for (int c = 0; c < kCount; ++c) {
    result.values[c] =
        store_float<Out>(operation(load_float(left.values[c]), load_float(right.values[c])));
  }
  *reinterpret_cast<Pack<Out, kCount>*>(out.data + row * out.stride + column) = result;
}

template <bool kFast>
struct SiluMul {
  __device__ float operator()(float gate, float up) const {
    return activated<kFast>(Activation::silu, gate) * up;
  }
};
template <bool kFast>
struct Activate {
  Activation activation;
  __device__ float operator()(float x, float) const { return activated<kFast>(activation, x); }
};
struct Add {
  __device__ float operator()(float x, float y) const { return x + y; }
};

bool takes_packs(ConstTensorView view, int count) {
  const std::size_t bytes = dtype_size(view.dtype) * static_cast<std::size_t>(count);
  return view.shape[1] % count == 0 && (view.rows() <= 1 || view.row_stride % count == 0) &&
         reinterpret_cast<std::uintptr_t>(view.data) % bytes == 0;
}

template <class A, class B, class Out, class Operation>
Status zip(Context& context, ConstTensorView a, ConstTensorView b, TensorView out,
           Operation operation) {
  constexpr int kCount = static_cast<int>(16 / std::max({sizeof(A), sizeof(B), sizeof(Out)}));
  const auto launch = [&](auto kernel, int count) {
    const std::int64_t packs = out.shape[1] / count;
    const dim3 grid(static_cast<unsigned>(out.rows()),
                    static_cast<unsigned>((packs + kThreads - 1) / kThreads));
    return launch_early(context, "element-wise operation", kernel, grid, kThreads, 0, rows_of<A>(a),
                        rows_of<B>(b), rows_of<Out>(out), static_cast<int>(packs), operation);
  };
  if (takes_packs(a, kCount) && takes_packs(b, kCount) && takes_packs(out, kCount)) {
    return launch(zip_kernel<kCount, A, B, Out, Operation>, kCount);
  }
  return launch(zip_kernel<1, A, B, Out, Operation>, 1);
}

__global__ __launch_bounds__(kThreads) void softmax_kernel(float* x, std::int64_t stride,
                                                           int width) {
  __shared__ float partial[kThreads / 32];
  float* row = x + blockIdx.x * stride;
  const auto over_block = [&](float value, auto combine) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      value = combine(value, __shfl_xor_sync(0xffffffffu, value, offset));
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    float all = partial[0];
#pragma unroll
    for (int i = 1; i < kThreads / 32; ++i) all = combine(all, partial[i]);
    return all;
  };
  float largest = -INFINITY;
  for (int i = threadIdx.x; i < width; i += kThreads) {
    // A NaN is kept: it must spoil the row.
    if (row[i] > largest || isnan(row[i])) largest = row[i];
  }
  largest = over_block(largest, [](float a, float b) { return a > b || isnan(a) ? a : b; });
  if (largest == -INFINITY) {
    for (int i = threadIdx.x; i < width; i += kThreads) row[i] = 0.0f;
    return;
  }
  float sum = 0.0f;
  for (int i = threadIdx.x; i < width; i += kThreads) {
    row[i] = expf(row[i] - largest);
    sum += row[i];
  }
  const float inverse = 1.0f / over_block(sum, [](float a, float b) { return a + b; });
  for (int i = threadIdx.x; i < width; i += kThreads) row[i] *= inverse;
}

Status check_matrix(const Context& context, const char* name, ConstTensorView view,
                    const Shape& shape) {
  FOVEA_CHECK(check_activation_shape(context, name, view, shape));
  if (shape.rank() == 2) return {};
  return make_error(ErrorCode::usage, "expected [rows, width], found " + shape.to_string())
      .in_field(name);
}

}  // namespace

Status silu_mul_cuda(Context& context, ConstTensorView gate, ConstTensorView up, TensorView out) {
  FOVEA_CHECK(check_matrix(context, "silu_mul gate", gate, gate.shape));
  FOVEA_CHECK(check_matrix(context, "silu_mul up", up, gate.shape));
  FOVEA_CHECK(check_matrix(context, "silu_mul out", out, gate.shape));
  if (gate.dtype != up.dtype || gate.dtype != out.dtype) {
    return make_error(ErrorCode::usage, "gate, up and out are of one type").in_field("silu_mul");
  }
  if (gate.shape.elements() == 0) return {};
  return with_float_type(gate.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    return zip<T, T, T>(context, gate, up, out, SiluMul<sizeof(T) == 2>{});
  });
}

Status activate_cuda(Context& context, TensorView x, Activation activation) {
  FOVEA_CHECK(check_matrix(context, "activate x", x, x.shape));
  if (x.shape.elements() == 0 || activation == Activation::none) return {};
  return with_float_type(x.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    return zip<T, T, T>(context, x, x, x, Activate<sizeof(T) == 2>{activation});
  });
}

Status add_cuda(Context& context, ConstTensorView x, TensorView y) {
  FOVEA_CHECK(check_matrix(context, "add y", y, y.shape));
  const bool same_row = x.shape.rank() == 2 && x.rows() == 1;
  FOVEA_CHECK(check_matrix(context, "add x", x, same_row ? Shape{1, y.shape[1]} : y.shape));
  if (y.shape.elements() == 0) return {};
  return with_float_type(x.dtype, [&](auto x_type) {
    return with_float_type(y.dtype, [&](auto y_type) {
      using X = typename decltype(x_type)::type;
      using Y = typename decltype(y_type)::type;
      return zip<X, Y, Y>(context, x, y, y, Add{});
    });
  });
}

Status softmax_rows_cuda(Context& context, TensorView x) {
  FOVEA_CHECK(check_matrix(context, "softmax x", x, x.shape));
  if (x.dtype != DType::f32) {
    return make_error(ErrorCode::usage, std::string("expected f32, found ") + dtype_name(x.dtype))
        .in_field("softmax x");
  }
  if (x.shape.elements() == 0) return {};
  softmax_kernel<<<static_cast<unsigned>(x.rows()), kThreads, 0, stream_of(context)>>>(
      x.as<float>(), x.row_stride, static_cast<int>(x.shape[1]));
  FOVEA_LAUNCH_CHECK("softmax_rows");
  return {};
}

}  // namespace fovea
