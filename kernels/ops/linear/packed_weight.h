#pragma once
// A weight in the order in which the product reads it, and the product over it. Linear's own
// interior: everybody else uses linear.h.
//
// Outputs are cut into panels of `panel` neighbours, the last one filled up with zeros. Within a
// panel all outputs of one input lie together, so that one pass over the panel is one sequential
// read, whether it serves one row or six hundred:
//   f32:  [panels][padded_inputs][panel]
//   bf16: [panels][padded_inputs / 2][panel][2], inputs in pairs. A 32-bit lane then holds two
//         inputs of one output, and both widen to float32 with one shift or one mask.

#include <cstdint>

#include "kernels/context.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/tensor.h"

namespace fovea {

struct PackedWeight {
  Tensor data;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t padded_inputs = 0;  // zeros behind `inputs`
  std::int64_t panel = 0;
  LinearDType dtype = LinearDType::f32;

  std::int64_t panels() const { return (outputs + panel - 1) / panel; }
};

/// weight: [outputs, inputs] f32, f16 or bf16, contiguous, at any address. Sizes are positive.
Result<PackedWeight> pack_weight(Context& context, ConstTensorView weight, LinearDType dtype);

/// y = epilogue(x W^T + bias) for x [rows, inputs] and y [rows, outputs], both float32. Every
/// element of y is one chain of additions in the order of the inputs, so that the result depends
/// neither on threads nor on how many other rows there are. bias: outputs floats, or null.
Status packed_product(Context& context, const PackedWeight& weight, ConstTensorView x,
                      const float* bias, TensorView y, const Epilogue& epilogue);

/// The epilogue by itself, on y that already holds x W^T.
void finish_rows(int threads, TensorView y, const float* bias, Activation activation);

/// Rounds to bfloat16 (nearest, ties to even). from: [rows, width] f32, to: the same shape in
/// bf16, or in f32 (the rounded values, widened again).
void round_rows(int threads, ConstTensorView from, TensorView to);

/// Outputs per panel, and the multiple to which inputs are padded, for this processor.
std::int64_t panel_outputs();
std::int64_t input_multiple(LinearDType dtype);

}  // namespace fovea
