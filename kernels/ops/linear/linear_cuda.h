#pragma once
// A weight on the GPU and its products: our own kernels for few rows, cuBLASLt for more. Linear's
// own interior, in builds with CUDA.

#include <cstdint>
#include <memory>
#include <span>

#include "kernels/context.h"
#include "kernels/ops/linear/linear.h"

namespace fovea {

class CudaLinear {
 public:
  /// Parts stacked along the outputs, as for Linear::create; they were checked. Kept in the type
  /// that `dtype` names.
  static Result<std::unique_ptr<CudaLinear>> create(Context& context,
                                                    std::span<const ConstTensorView> weights,
                                                    std::span<const ConstTensorView> biases,
                                                    LinearDType dtype);

  /// y = epilogue(x W^T + b) on the context's stream. x: [rows, inputs] f32, f16 or bf16, rounded
  /// to the weight's type; y: [rows, outputs] in f32 or the weight's type. Sums are made in
  /// float32, and in a float32 weight's products nothing is rounded below that.
  Status apply(Context& context, ConstTensorView x, TensorView y, const Epilogue& epilogue) const;

  std::int64_t inputs() const { return weight_.shape()[1]; }
  std::int64_t outputs() const { return weight_.shape()[0]; }
  std::size_t weight_bytes() const { return weight_.bytes(); }
  DType dtype() const { return weight_.dtype(); }

 private:
  Status multiply(Context& context, ConstTensorView x, TensorView y, bool accumulate) const;

  Tensor weight_;      // [outputs, inputs]
  Tensor bias_;        // [outputs] f32, or empty
  Tensor bias_typed_;  // the same in the weight's type, for results of that type; empty where f32
};

/// y[outputs] (+)= W x (+ bias) for one row: x in the weight's type, contiguous; y f32 or that
/// type. False when the sizes do not suit it and nothing was done.
Result<bool> one_row_product(Context& context, ConstTensorView weight, ConstTensorView x,
                             const float* bias, TensorView y, bool accumulate);

/// The same for 2 to 64 rows on a Hopper card, f16 or bf16: rows of x at multiples of 16 bytes, of y
/// anywhere. A row's result does not depend on the rows beside it. False also for more rows.
Result<bool> few_rows_product(Context& context, ConstTensorView weight, ConstTensorView x,
                              const float* bias, TensorView y, bool accumulate);

}  // namespace fovea
