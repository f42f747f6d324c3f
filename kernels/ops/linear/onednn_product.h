#pragma once
// Products of many rows by oneDNN, over the same packed weight that our own product reads. Only in
// builds with FOVEA_ONEDNN.

#include <cstdint>
#include <memory>

#include "kernels/ops/linear/packed_weight.h"

namespace fovea {

class OnednnProduct {
 public:
  /// Null unless the weight is one whose layout oneDNN knows: bfloat16 for AVX512_BF16, an even
  /// number of inputs. `weight` and `bias` (null for none) must outlive the object.
  static std::unique_ptr<OnednnProduct> create(const PackedWeight& weight, const float* bias);

  OnednnProduct();
  ~OnednnProduct();

  /// y = epilogue(x W^T + bias); false, and y untouched, when oneDNN has no fast product for these
  /// shapes. x: what round_to_bf16() made. oneDNN cuts its sums by rows and threads, so that
  /// results differ by rounding between them. Errors: internal, when oneDNN fails half-way.
  Result<bool> apply(int threads, ConstTensorView x, TensorView y, const Epilogue& epilogue) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fovea
