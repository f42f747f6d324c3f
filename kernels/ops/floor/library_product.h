#pragma once
// oneDNN's own best product, with weights in whatever layout it prefers. Only for floors, and only
// in builds with FOVEA_ONEDNN.

#include <memory>
#include <string>

#include "kernels/context.h"
#include "kernels/ops/linear/linear.h"

namespace fovea {

class LibraryProduct {
 public:
  enum class Way {
    packed,  // weights in the layout that oneDNN chooses
    plain,   // weights as they are stored, [outputs, inputs]; float32 only
  };

  /// Prepares y = x W^T for `copies` copies of weight [outputs, inputs] f32: in bfloat16 when that
  /// is wanted and oneDNN has it on this processor, else in float32. x [rows, inputs] f32 is
  /// converted here, before any time is taken. Null when oneDNN has no such product or no room.
  static std::unique_ptr<LibraryProduct> create(Way way, int threads, ConstTensorView x,
                                                ConstTensorView weight, TensorView y, int copies,
                                                LinearDType dtype);
  virtual ~LibraryProduct() = default;

  /// "onednn-f32" or "onednn-bf16".
  virtual std::string name() const = 0;
  /// Multiplies by copy `index`. Errors: internal, when oneDNN fails.
  virtual Status run(int index) = 0;
};

}  // namespace fovea
