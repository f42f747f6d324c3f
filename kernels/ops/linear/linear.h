#pragma once
// y = epilogue(x W^T + b). The only way a weight is used: layout, packing, data type and sharding
// stay inside Linear.

#include <memory>
#include <span>
#include <string>

#include "kernels/context.h"
#include "kernels/tensor.h"

namespace fovea {

enum class Activation { none, gelu_erf, gelu_tanh, quick_gelu, silu, relu };

struct Epilogue {
  Activation activation = Activation::none;
  /// y += result instead of y = result (the residual connection). Needs activation none.
  bool accumulate = false;
};

/// How the weight is kept and multiplied; f16 on GPUs only.
enum class LinearDType { f32, bf16, f16 };

/// "f32", "bf16", "f16".
const char* linear_dtype_name(LinearDType dtype);

/// The type of activations between products: f32 on the CPU, where products round for themselves;
/// on a GPU the weights' own.
DType activation_dtype(const Context& context, LinearDType dtype);

class Linear {
 public:
  /// weight: [outputs, inputs], f32, f16 or bf16, contiguous, in the host's memory or on the
  /// context's device; bias: [outputs] or empty. Both are copied (packed) once here, never
  /// borrowed: they need not outlive this object. Errors: usage (shapes), unsupported (dtype),
  /// out_of_memory.
  static Result<Linear> create(Context& context, ConstTensorView weight, ConstTensorView bias,
                               LinearDType dtype);
  /// The same with the weight given in parts, stacked along the outputs in order (query, key and
  /// value of one fused product, say); biases likewise, one per part, or none at all.
  static Result<Linear> create(Context& context, std::span<const ConstTensorView> weights,
                               std::span<const ConstTensorView> biases, LinearDType dtype);

  Linear();
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;
  ~Linear();

  /// x: [rows, inputs] f32; y: [rows, outputs] f32; both may have a row stride; x and y must not
  /// overlap. On a GPU x may be of any float type, and y f32 or of the weight's type. Any row count
  /// >= 0. The result of a row does not depend on the number of threads.
  Status apply(Context& context, ConstTensorView x, TensorView y,
               const Epilogue& epilogue = {}) const;

  std::int64_t inputs() const;
  std::int64_t outputs() const;
  /// Bytes of weight read by one one-row product (for bandwidth floors).
  std::size_t weight_bytes() const;
  /// Name of the product in use, for reports: "onednn-f32", "onednn-bf16", "fovea-bf16", ...
  std::string backend() const;

 private:
  struct Impl;
  static Result<Linear> create_on_cuda(Context& context, std::span<const ConstTensorView> weights,
                                       std::span<const ConstTensorView> biases, LinearDType dtype);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fovea
