#pragma once
// Lists where an operation runs, on the CPU or on a GPU.

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/context.h"
#include "kernels/copy.h"

namespace fovea::testing {

/// Values where a context computes, in a block of their own.
template <class T, DType dtype>
class ListThere {
 public:
  ListThere(Context& context, std::vector<T> values)
      : context_(context), values_(std::move(values)) {
    auto made = Tensor::allocate(shape(), dtype, context.device);
    EXPECT_TRUE(made);
    if (!made) return;
    block_ = std::move(*made);
    if (values_.empty()) return;
    EXPECT_TRUE(copy(context, here(), block_.view()));
  }
  TensorView view() { return block_.view(); }
  /// The same as rows of equal width.
  TensorView matrix(std::int64_t rows) {
    return {block_.view().data, dtype,
            Shape{rows, static_cast<std::int64_t>(values_.size()) / rows}, block_.device()};
  }
  std::vector<T> fetch() {
    if (values_.empty()) return values_;
    EXPECT_TRUE(copy(context_, block_.view(), here()));
    return values_;
  }

 private:
  Shape shape() const { return {static_cast<std::int64_t>(values_.size())}; }
  TensorView here() { return {reinterpret_cast<std::byte*>(values_.data()), dtype, shape()}; }
  Context& context_;
  std::vector<T> values_;
  Tensor block_;
};
using Numbers = ListThere<std::int32_t, DType::i32>;
using Scores = ListThere<float, DType::f32>;

}  // namespace fovea::testing
