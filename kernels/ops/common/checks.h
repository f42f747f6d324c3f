#pragma once
// What operations ask of their arguments before they start, and how many threads are worth waking.

#include "kernels/context.h"

namespace fovea {

/// Usage error unless `view` is a float32 block on the CPU with `rank` axes whose rows do not
/// overlap; a vector (one axis) has no gaps. A view without elements may have no data. `name` is
/// the argument, as in "norm x".
Status check_f32_rank(const char* name, ConstTensorView view, int rank);

/// The same, and exactly of this shape.
Status check_f32_shape(const char* name, ConstTensorView view, const Shape& shape);

/// The same for a block on the context's device.
Status check_f32_rank(const Context& context, const char* name, ConstTensorView view, int rank);
Status check_f32_shape(const Context& context, const char* name, ConstTensorView view,
                       const Shape& shape);

/// The same for what flows through a model: float32 on the CPU; f32, f16 or bf16 on a GPU.
Status check_activation_rank(const Context& context, const char* name, ConstTensorView view,
                             int rank);
Status check_activation_shape(const Context& context, const char* name, ConstTensorView view,
                              const Shape& shape);

/// Usage error unless `view` is one axis of numbers of this type on the context's device; and,
/// where given, of so many.
Status check_list(const Context& context, const char* name, ConstTensorView view, DType dtype);
Status check_list(const Context& context, const char* name, ConstTensorView view, DType dtype,
                  std::int64_t count);

/// Unsupported unless the context runs on the CPU.
Status check_cpu(const Context& context);

/// Threads for `elements` of cheap element-wise work: waking a thread costs a few microseconds,
/// which one core needs for some ten thousand elements.
int threads_for_elements(const Context& context, std::int64_t elements);

}  // namespace fovea
