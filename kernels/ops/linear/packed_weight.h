#pragma once
// A weight in the order in which the product reads it, and the product over it. Linear's own
// interior: everybody else uses linear.h.
//
// Outputs are cut into panels of `panel` neighbours, the last one filled up with zeros. Within a
// panel all outputs of one input lie together, so that one pass over the panel is one sequential
// read, whether it serves one row or six hundred:
//   f32:  [panels][padded_inputs][panel]
//   bf16: [panels][padded_inputs / 2][panel][2], inputs in pairs. A 32-bit unit then holds two
//         inputs of one output. Both widen to float32 with a shift or two, and it is the operand of
//         the AVX512_BF16 instruction, for which panels of 64 are also what oneDNN calls
//         BA16a64b2a.

#include <cstdint>

#include "kernels/context.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/tensor.h"

namespace fovea {

enum class Arithmetic {
  f32,
  bf16,      // weights widened, x and sums in float32
  bf16_dot,  // x rounded to bfloat16 too, sums in float32 (AVX512_BF16)
};

struct PackedWeight {
  Tensor data;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t padded_inputs = 0;  // zeros behind `inputs`
  std::int64_t panel = 0;
  Arithmetic arithmetic = Arithmetic::f32;

  std::int64_t panels() const { return (outputs + panel - 1) / panel; }
};

/// How panels are cut for this processor, and what it multiplies bfloat16 with.
struct PackedLayout {
  std::int64_t panel;
  bool has_bf16_dot;
};
PackedLayout packed_layout();

/// Asks the system for 2 MiB pages behind a large block, before it is written. Weights are read
/// front to back, and the processor's prefetching stops at page ends: with 4 KiB pages one thread
/// reads a third slower. A wish only, so there is nothing to fail.
void prefer_huge_pages(Tensor& tensor);

/// weight: [outputs, inputs] f32, f16 or bf16, contiguous, at any address. Sizes are positive.
Result<PackedWeight> pack_weight(Context& context, ConstTensorView weight, Arithmetic arithmetic);

/// x [rows, inputs] f32 rounded to bfloat16 (nearest, ties to even), rows an even number of
/// elements apart and filled up with a zero. Taken from the context's workspace.
Result<TensorView> round_to_bf16(Context& context, ConstTensorView x);

/// y = epilogue(x W^T + bias) for x [rows, inputs] and y [rows, outputs] f32. x is f32, or what
/// round_to_bf16 made of it when the arithmetic is bf16_dot. Every element of y is one chain of
/// additions in the order of the inputs, so that the result depends neither on threads nor on how
/// many other rows there are. bias: outputs floats, or null.
Status packed_product(Context& context, const PackedWeight& weight, ConstTensorView x,
                      const float* bias, TensorView y, const Epilogue& epilogue);

}  // namespace fovea
