#pragma once
// Reads the tensors of one part of a model (tower, projector, decoder) by short names and remembers
// which were used, so that the loader can name those that nobody needed.

#include <set>
#include <string>
#include <utility>

#include "kernels/weights/safetensors.h"

namespace fovea {

class WeightReader {
 public:
  /// `files` and `used` must outlive the reader.
  WeightReader(const WeightFiles& files, std::set<std::string>& used, std::string prefix = "")
      : files_(&files), used_(&used), prefix_(std::move(prefix)) {}

  WeightReader below(const std::string& more) const { return {*files_, *used_, prefix_ + more}; }
  bool contains(const std::string& name) const { return files_->contains(prefix_ + name); }

  /// A float tensor of exactly this shape, as stored (f32, f16 or bf16). Errors: bad_model.
  Result<ConstTensorView> get(const std::string& name, const Shape& shape) const {
    used_->insert(prefix_ + name);
    return files_->get(prefix_ + name, shape);
  }

  /// The same, copied to float32 (for small tensors: norms, biases, embeddings of positions).
  Result<Tensor> get_f32(const std::string& name, const Shape& shape) const {
    FOVEA_TRY(const ConstTensorView stored, get(name, shape));
    FOVEA_TRY(Tensor copy, Tensor::allocate(shape, DType::f32));
    FOVEA_CHECK(convert(stored, copy.view()));
    return copy;
  }

 private:
  const WeightFiles* files_;
  std::set<std::string>* used_;
  std::string prefix_;
};

}  // namespace fovea
